"""Networks that keep state from call to call: `fit` is a plain loop with a reset before each batch."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from tests.helpers.peers import PEERS, peer
from tests.helpers.training import Items, images, loader, mlp, same
from tsnn_uq.checks import InputError
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.seeds import derive_seed, generator_for
from tsnn_uq.training import Direct, Distill, FitSettings, Float, Indirect, VarianceRegularizer, accuracy, fit
from tsnn_uq.uncertainty import MASK_MODES, make_deterministic, make_stochastic, set_generator
from tsnn_uq.uncertainty.add_dropout import KINDS

SETTINGS = FitSettings(epochs=2, batch_size=6, learning_rate=0.02)
COUNT = 16  # so that the last batch of an epoch has four
STEPS = 6


def reset(network: nn.Module) -> None:
    """What the users of these libraries write."""
    for module in network.modules():
        if hasattr(module, "reset_mem"):  # snnTorch
            module.reset_mem()
        elif hasattr(module, "_memories"):  # SpikingJelly
            module.reset()


def rate(step: int) -> float:
    """The learning rate: up from 1/25 by a cosine over three tenths of the training, and down to 0 by another."""
    done = step / STEPS
    if done < 0.3:
        return 0.02 * (0.04 + 0.96 * (1 - math.cos(math.pi * done / 0.3)) / 2)
    return 0.02 * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2


class Task:
    """A network of another library, inputs for it and their labels."""

    def __init__(self, name: str) -> None:
        self.network, _, self.options = peer(name, 0.2)
        inputs = torch.rand(COUNT, 4, generator=torch.Generator().manual_seed(3))
        self.batch_dim = self.options.get("batch_dim", 0)
        self.inputs = 4 * inputs.expand(5, COUNT, 4) if self.batch_dim else inputs
        self.labels = inputs.argmax(1).clamp(max=2)
        self.output = self.options.get("output", lambda outputs: outputs)

    def batch(self, indices: Tensor) -> Tensor:
        return self.inputs.index_select(self.batch_dim, indices)

    def logits(self, network: nn.Module, indices: Tensor) -> Tensor:
        reset(network)
        outputs = self.output(network(self.batch(indices)))
        return outputs.mean(0)

    def teacher(self) -> nn.Module:
        teacher = copy.deepcopy(self.network)
        with torch.no_grad():
            for parameter in teacher.parameters():
                parameter.mul_(1.5)
        return teacher

    def wanted(self) -> Tensor:
        with torch.no_grad():
            return self.logits(self.teacher().eval(), torch.arange(COUNT))

    def train(self, loss, after_step) -> None:
        """The loop: an order an epoch, a reset, a step of AdamW."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.0, weight_decay=0.01, fused=True)
        self.network.train()
        step = 0
        for epoch in range(2):
            order = torch.randperm(COUNT, generator=generator_for(0, "order", epoch))
            for indices in order.split(6):
                optimizer.param_groups[0]["lr"] = rate(step)
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(derive_seed(0, "layers of others", step))  # for dropout
                    logits = self.logits(self.network, indices)
                optimizer.zero_grad()
                loss(logits, indices).backward()
                optimizer.step()
                step += 1
                after_step(step)
        self.network.eval()

    def cross_entropy(self, logits: Tensor, indices: Tensor) -> Tensor:
        return cross_entropy(logits, self.labels[indices])


def nothing(step: int) -> None:
    """After a step of a method that does nothing there."""


def plain_float(task: Task) -> None:
    task.train(task.cross_entropy, nothing)


def plain_direct(task: Task) -> None:
    ternarize(task.network)
    task.train(task.cross_entropy, nothing)
    freeze(task.network)


def plain_indirect(task: Task) -> None:
    method = Indirect(shares=(0.5, 1.0))
    method.start(task.network, task.inputs)
    task.train(task.cross_entropy, lambda step: method.after_step(task.network, step / STEPS))


def plain_distill(task: Task) -> None:
    method = Indirect(shares=(0.5, 1.0))
    method.start(task.network, task.inputs)
    teacher = task.wanted()

    def loss(logits: Tensor, indices: Tensor) -> Tensor:
        soft, wanted = (logits / 2).log_softmax(-1), (teacher[indices] / 2).log_softmax(-1)
        distance = 4 * kl_div(soft, wanted, reduction="batchmean", log_target=True)
        return 0.5 * task.cross_entropy(logits, indices) + 0.5 * distance

    task.train(loss, lambda step: method.after_step(task.network, step / STEPS))


METHODS = {
    "float": (lambda task: Float(), plain_float),
    "direct": (lambda task: Direct(), plain_direct),
    "indirect": (lambda task: Indirect(shares=(0.5, 1.0)), plain_indirect),
    "distill": (
        lambda task: Distill(task.teacher(), shares=(0.5, 1.0), output=task.options.get("output")),
        plain_distill,
    ),
}


FORMS = {
    "tensors": lambda inputs, labels, dim: (inputs, labels),
    "Dataset": Items,
    "DataLoader": lambda inputs, labels, dim: loader((inputs, labels), dim),
}


@pytest.mark.parametrize(
    ("method", "form"),
    [("float", "tensors"), ("direct", "Dataset"), ("indirect", "DataLoader"), ("distill", "tensors")],
)
@pytest.mark.parametrize("name", PEERS)
def test_a_network_of_another_library_trains_as_in_a_plain_loop(name, method, form):
    make, plainly = METHODS[method]
    theirs, ours = Task(name), Task(name)
    plainly(theirs)
    data = ours.inputs, ours.labels
    train = FORMS[form](*data, ours.batch_dim)
    history = fit(ours.network, train, seed=0, method=make(ours), settings=SETTINGS, validation=data, **ours.options)
    assert history.validation_accuracy[-1] == accuracy(ours.network, *data, batch_size=5, **ours.options)
    assert not same(ours.network, Task(name).network)
    assert same(ours.network, theirs.network)


@pytest.mark.parametrize("name", PEERS)
def test_accuracy_does_not_depend_on_the_batches_or_on_what_came_before(name):
    task = Task(name)
    task.network.eval()
    with torch.no_grad():
        right = [int(task.logits(task.network, torch.tensor([i])).argmax() == task.labels[i]) for i in range(COUNT)]
    for batch_size in (1, 3, 5, 16, 500):
        task.network(task.inputs)  # leaves state behind
        assert accuracy(task.network, task.inputs, task.labels, batch_size, **task.options) == sum(right) / COUNT


def test_accuracy_leaves_each_module_in_its_mode():
    network = mlp().train()
    network[1].eval()  # a BatchNorm that is not to learn
    modes = [module.training for module in network.modules()]
    accuracy(network, *images())
    assert [module.training for module in network.modules()] == modes
    fit(mlp(), images(), seed=0, method=Distill(network), settings=FitSettings(epochs=1))
    assert [module.training for module in network.modules()] == modes


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("mask", MASK_MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_make_stochastic_are_drawn_anew_for_each_step(kind, mask, passes):
    network, seen = mlp(), []
    make_stochastic(network, kind, p=0.5, mask=mask)
    layer = network[-1]

    def note(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if network.training:
            drawn = given[0] if kind == "dropout" else layer.parametrizations.weight[0].held
            seen.append((drawn != 0).flatten())

    layer.register_forward_hook(note)
    regularizer = VarianceRegularizer(passes) if passes > 1 else None
    settings = replace(SETTINGS, regularizer_weight=float(passes > 1))
    fit(network, images(COUNT), seed=0, regularizer=regularizer, settings=settings, validation=images(5))
    assert len(seen) == STEPS * (passes if kind == "dropconnect" else 1)
    assert len({tuple(drawn.tolist()) for drawn in seen}) == len(seen)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_network_of_make_stochastic_trains_as_in_a_plain_loop(kind, method):
    make, plainly = METHODS[method]
    theirs, ours = Task("norse loop"), Task("norse loop")
    for task in (theirs, ours):
        make_stochastic(task.network, kind, p=0.2)
    generator = generator_for(0, "masks")
    theirs.network.register_forward_pre_hook(lambda *_: set_generator(theirs.network, generator))  # and draws anew
    plainly(theirs)
    fit(ours.network, (ours.inputs, ours.labels), seed=0, method=make(ours), settings=SETTINGS)
    make_deterministic(ours.network)
    make_deterministic(theirs.network)
    if method != "float":
        assert all(layer.weight.unique().numel() <= 3 for layer in (ours.network.fc1, ours.network.fc2))
    for one, other in zip(ours.network.parameters(), theirs.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_weights_that_cannot_be_fixed_one_by_one_are_refused():
    network = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(16, 3)))
    with pytest.raises(InputError, match="parametrized already, by _WeightNorm"):
        fit(network, images(), seed=0, method=Indirect(), settings=SETTINGS)


@pytest.mark.parametrize("name", ["snntorch hidden", "spikingjelly single"])
def test_a_network_that_was_just_trained_holds_no_graph(name):
    task = Task(name)
    fit(task.network, (task.inputs, task.labels), seed=0, settings=SETTINGS)
    copy.deepcopy(task.network)  # torch refuses to copy what has a graph
