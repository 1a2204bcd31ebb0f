"""`fit` on tensors, a Dataset and a DataLoader: the same numbers, also after a kill."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler, Subset, TensorDataset

from tests.helpers.training import TINY, Items, Noisy, images, loader, method, mlp, network, same, shifted
from tsnn_uq.checks import InputError
from tsnn_uq.coding import pack_spikes
from tsnn_uq.networks import build
from tsnn_uq.seeds import generator_for
from tsnn_uq.training import (
    METHODS,
    Distill,
    Float,
    VarianceRegularizer,
    accuracy,
    fit,
    forward_batch,
    make_regularizer,
)

STEPS = 6  # 16 inputs in batches of 6, twice


class Stop(Exception):
    """An interruption."""


FORMS = {
    "list": lambda data, dim: (list(data), {}),
    "TensorDataset": lambda data, dim: (TensorDataset(data[0].movedim(dim, 0), data[1]), {}),
    "subset of tensors": lambda data, dim: (Subset(TensorDataset(data[0].movedim(dim, 0), data[1]), range(16)), {}),
    "Dataset": lambda data, dim: (Items(*data, dim), {}),
    "Dataset, two workers": lambda data, dim: (Items(*data, dim), {"workers": 2}),
    "DataLoader": lambda data, dim: (loader(data, dim), {}),
    "DataLoader, two workers": lambda data, dim: (loader(data, dim, workers=2), {}),
}


class OverTime(nn.Module):
    """Takes inputs over time [T, N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        assert inputs.shape[0] == 5
        return self.layers(inputs)


def colour() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))


def recordings() -> tuple[Tensor, Tensor]:
    """Events packed to bits [16, 6, 2 * 4 * 4 / 8]."""
    spikes = torch.rand(16, 6, 32, generator=torch.Generator().manual_seed(0)) < 0.3
    return pack_spikes(spikes), torch.arange(16) % 3


def slayer() -> nn.Module:
    from tsnn_uq.neurons import SRMParameters

    generator = torch.Generator().manual_seed(0)
    return build(
        "slayer",
        shape=(2, 4, 4),
        classes=3,
        hidden=(8,),
        steps=6,
        neuron=SRMParameters(step_ms=5.0),
        generator=generator,
    )


def with_channels() -> tuple[Tensor, Tensor]:
    return torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 3


def over_time() -> tuple[Tensor, Tensor]:
    return torch.rand(5, 16, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 3


# Everything that can be trained on, as (network, data, options).
CASES = {
    **{name: (network, images, {"method": lambda name=name: method(name)}) for name in METHODS},
    "torch": (mlp, images, {"augment": shifted}),
    "augmented": (network, images, {"augment": shifted}),
    "augmented, distilled": (network, images, {"augment": shifted, "method": lambda: method("distill")}),
    "regularized": (
        lambda: network("dropconnect"),
        images,
        {
            "augment": shifted,
            "regularizer": make_regularizer("variance:5+outliers:0.5"),
            "settings": replace(TINY, regularizer_weight=0.5),
        },
    ),
    "colour": (colour, with_channels, {}),
    "events": (slayer, recordings, {}),
    "over time": (OverTime, over_time, {"batch_dim": 1, "augment": shifted}),
}


def trained(case: str, form: str | None = None, **more):
    make, data, options = CASES[case]
    train, given = (data(), {}) if form is None else FORMS[form](data(), options.get("batch_dim", 0))
    options = {"seed": 0, "settings": TINY} | options | given | more
    model = make()
    history = fit(model, train, **options | {"method": options.get("method", Float)()})
    return model, history


@pytest.mark.parametrize("case", CASES)
def test_all_forms_of_data_give_the_same_weights(case):
    whole, history = trained(case, validation=CASES[case][1]())
    assert not same(whole, CASES[case][0]())
    for form in FORMS:
        if "workers" in form and case not in ("float", "augmented, distilled", "over time"):
            continue
        model, other = trained(
            case, form, validation=FORMS[form](CASES[case][1](), CASES[case][2].get("batch_dim", 0))[0]
        )
        assert same(model, whole), form
        assert (other.loss, other.validation_accuracy) == (history.loss, history.validation_accuracy)


def test_random_items_are_others_in_each_epoch_and_the_same_for_any_workers():
    seen = []

    class Recorded(Float):
        def term(self, forward):
            seen.append(forward.images.sum().item())
            return super().term(forward)

    one, other = network(), network()
    fit(one, Noisy(*images()), seed=0, method=Recorded(), settings=TINY)
    fit(other, Noisy(*images()), seed=0, settings=TINY, workers=2)
    assert same(one, other)
    assert len(set(seen)) == STEPS


INTERRUPTED = {
    "tensors": lambda data: (data, {}),
    "random items, two workers": lambda data: (Noisy(*data), {"workers": 2}),
    "DataLoader, two workers": lambda data: (loader(data, workers=2), {}),
    "shuffled DataLoader, random items, two workers": lambda data: (
        DataLoader(Noisy(*data), 6, shuffle=True, num_workers=2),
        {},
    ),
    "shuffled DataLoader with a generator": lambda data: (
        DataLoader(Noisy(*data), 6, shuffle=True, generator=torch.Generator().manual_seed(3)),
        {},
    ),
}


@pytest.mark.parametrize(("form", "name"), [("tensors", "float"), *((form, "distill") for form in INTERRUPTED)])
def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, form, name):
    def run(stop=None, **options):
        train, given = INTERRUPTED[form](images())

        def progress(done, total):
            if done == stop:
                raise Stop

        model = network()
        options |= given | {"augment": shifted, "settings": TINY, "progress": progress}
        return model, fit(model, train, seed=0, method=method(name), **options)

    whole, history = run()
    for step in (1, 2, 3, 4, 5) if form == "tensors" else (3, 5):
        options = {"checkpoint": tmp_path / f"{step}", "checkpoint_seconds": 0}
        with pytest.raises(Stop):
            run(step, **options)
        resumed, again = run(**options)
        assert same(whole, resumed)
        assert history.loss == again.loss


def test_with_a_dataloader_checkpoints_are_written_at_the_end_of_an_epoch(tmp_path):
    written = []
    path = tmp_path / "file"

    def progress(done, total):
        if path.exists():
            written.append(done)
            path.unlink()

    options = {"seed": 0, "settings": TINY, "checkpoint": path, "checkpoint_seconds": 0, "progress": progress}
    fit(network(), loader(images()), **options)
    assert written == [3, 6]
    written.clear()
    fit(network(), images(), **options)
    assert written == [1, 2, 3, 4, 5, 6]


# The teacher of a distilled student.


class Recorder(nn.Module):
    """A teacher that notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.asked = mlp(seed=9), []

    def forward(self, inputs: Tensor) -> Tensor:
        self.asked.append(inputs.clone())
        return self.network(inputs)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_teacher_is_asked_about_the_very_batch_that_the_student_sees(passes):
    teacher, seen, losses = Recorder(), [], []

    class Recorded(Distill):
        def term(self, forward):
            seen.append(forward.images.clone())
            loss = super().term(forward)
            wanted = forward.of_all(teacher.network.eval()(forward.images)).detach()
            soft = functional.kl_div(
                (forward.all_logits / 2).log_softmax(-1), (wanted / 2).softmax(-1), reduction="batchmean"
            )
            hard = functional.cross_entropy(forward.all_logits, forward.of_all(forward.target))
            losses.append((loss.item(), (0.5 * hard + 0.5 * 4 * soft).item()))
            return loss

    regularizer = VarianceRegularizer(passes) if passes > 1 else None
    settings = replace(TINY, regularizer_weight=float(passes > 1))
    options = {"seed": 0, "settings": settings, "regularizer": regularizer}
    fit(network(), images(), method=Recorded(teacher), augment=shifted, **options)
    assert len(teacher.asked) == len(seen) == STEPS
    assert all(map(torch.equal, teacher.asked, seen))
    assert len({batch.sum().item() for batch in seen}) == STEPS
    for ours, expected in losses:
        assert ours == pytest.approx(expected, rel=1e-5)
    teacher.asked.clear()
    fit(network(), images(), method=Recorded(teacher), **options)
    assert [len(batch) for batch in teacher.asked] == [16]  # once for all
    teacher.asked.clear()
    fit(network(), Noisy(*images()), method=Recorded(teacher), **options)
    assert [len(batch) for batch in teacher.asked] == [6, 6, 4] * 2


def test_a_teacher_that_is_random_in_evaluation_too_repeats():
    def run():
        torch.manual_seed(torch.seed())  # the global generator is nobody's
        student = network()
        fit(student, images(), seed=0, settings=TINY, method=Distill(network(coding="rate", seed=9)), augment=shifted)
        return student

    with torch.random.fork_rng(devices=[]):
        assert same(run(), run())


# Batches of one input.


def normalized() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def sizes_of_batches(model, count, batch_size, **options):
    sizes = []

    class Recorded(Float):
        def loss(self, mc_logits, target, indices):
            sizes.append(indices.tolist())
            return super().loss(mc_logits, target, indices)

    settings = replace(TINY, batch_size=batch_size)
    fit(model, images(count), seed=0, method=Recorded(), settings=settings, **options)
    return sizes


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(16, 5, [5, 5, 6]), (16, 3, [3, 3, 3, 3, 4]), (7, 6, [7]), (17, 16, [17]), (16, 7, [7, 7, 2]), (3, 2, [3])],
)
def test_a_last_batch_of_one_joins_the_one_before_where_the_network_normalizes_by_batch(count, batch_size, sizes):
    batches = sizes_of_batches(normalized(), count, batch_size)
    assert list(map(len, batches)) == sizes * 2
    for epoch in range(2):
        order = torch.randperm(count, generator=generator_for(0, "order", epoch)).tolist()
        assert [i for batch in batches[epoch * len(sizes) :][: len(sizes)] for i in batch] == order


@pytest.mark.parametrize("make", [network, mlp, lambda: network("plif")])
def test_elsewhere_it_stays_alone(make):
    """Also where each channel has several values of one input."""
    assert list(map(len, sizes_of_batches(make(), 16, 5))) == [5, 5, 5, 1] * 2


def test_a_last_batch_that_several_passes_make_longer_stays_alone():
    regularizer = VarianceRegularizer(share=1.0)
    settings = replace(TINY, batch_size=5, regularizer_weight=1.0)
    lengths = []

    class Recorded(Float):
        def term(self, forward):
            lengths.append(len(forward.images))
            return super().term(forward)

    fit(normalized(), images(), seed=0, method=Recorded(), regularizer=regularizer, settings=settings)
    assert lengths == [5, 5, 5, 1] * 2


def test_the_trial_leaves_no_trace():
    """A network that takes one input trains as if nobody had tried; one that does not, as in a plain loop."""
    plain = mlp()
    fit(plain, images(), seed=0, settings=replace(TINY, batch_size=5))
    model = normalized()
    fit(model, images(), seed=0, settings=replace(TINY, batch_size=5, epochs=1, learning_rate=0.01))
    assert model[2].num_batches_tracked == 3
    other = mlp()
    state = torch.get_rng_state()
    fit(other, images(), seed=0, settings=replace(TINY, batch_size=5))
    assert torch.equal(torch.get_rng_state(), state)
    assert same(plain, other)


def test_a_joined_batch_resumes(tmp_path):
    def run(stop=None):
        def progress(done, total):
            if done == stop:
                raise Stop

        model = normalized()
        options = {"checkpoint": tmp_path / "file", "checkpoint_seconds": 0, "progress": progress}
        fit(model, images(), seed=0, settings=replace(TINY, batch_size=5), **options)
        return model

    whole = run()
    (tmp_path / "file").unlink()
    for step in (2, 3, 5):
        with pytest.raises(Stop):
            run(step)
        assert same(run(), whole)
        (tmp_path / "file").unlink()


@pytest.mark.parametrize(
    "train",
    [lambda: images(1), lambda: DataLoader(TensorDataset(*images(16)), 5), lambda: images(3)],
    ids=["one input", "DataLoader", "batches of one"],
)
def test_batches_of_one_that_cannot_be_joined_are_an_error_with_a_remedy(train):
    settings = replace(TINY, batch_size=1 if isinstance(train(), tuple) else 5)
    with pytest.raises(InputError, match="train: expected batches of several inputs"):
        fit(normalized(), train(), seed=0, settings=settings)


# Inputs that networks of other libraries take, and outputs that they give, are in test_stateful.py.


def test_inputs_over_time_are_no_images():
    with pytest.raises(InputError, match=r"batch_dim: expected 0, since .* makes inputs"):
        forward_batch(OverTime(), *over_time(), make_regularizer("outliers"), seed=0, step=0, batch_dim=1)


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_passes_over_inputs_over_time_are_those_over_each_input(passes):
    inputs, labels = over_time()
    model = OverTime().eval()
    regularizer = VarianceRegularizer(passes, share=0.5) if passes > 1 else VarianceRegularizer(2, share=1.0)
    got = forward_batch(model, inputs, labels, regularizer, seed=0, step=0, batch_dim=1)
    expected = model(inputs).mean(0)
    torch.testing.assert_close(got.first_logits, expected)
    torch.testing.assert_close(got.all_logits, got.of_all(expected))


@pytest.mark.parametrize(
    ("augment", "match"),
    [
        (lambda inputs, generator: inputs[:-1], "augment: expected 6 inputs on axis 0"),
        (lambda inputs, generator: None, "augment: expected 6 inputs on axis 0"),
    ],
)
def test_an_augmentation_gives_as_many_inputs(augment, match):
    with pytest.raises(InputError, match=match):
        fit(network(), images(), seed=0, settings=TINY, augment=augment)


class Longer(Sampler):
    """Gives another number of batches than its length says."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        yield from [[0, 1]] * self.batches

    def __len__(self):
        return 2


@pytest.mark.parametrize(
    ("train", "match"),
    [
        (DataLoader(Items(*images()), batch_sampler=Longer(3)), "train: expected a DataLoader with 2 batches"),
        (DataLoader(Items(*images()), batch_sampler=Longer(1)), "train: expected a DataLoader with 2 batches"),
        (Items(images()[0] / 0, images()[1]), "train: expected finite values"),
        (Items(images()[0], images()[1] + 1), "labels: expected labels from 0 to 2"),
        (images()[0], r"train: expected \(inputs, labels\) as tensors"),
        ([(images()[0][0], 0, 0)], r"train: expected \(inputs, labels\) as tensors"),
        ({"images": 1}, "train: expected tensors .*, a map-style Dataset"),
    ],
)
def test_data_that_do_not_fit_are_said_in_one_line(train, match):
    if isinstance(train, dict):
        train = object()
    with pytest.raises(InputError, match=match) as error:
        fit(network(), train, seed=0, settings=TINY)
    assert "\n" not in str(error.value)


def test_accuracy_takes_all_forms():
    model, data = network(), images(11)
    expected = accuracy(model, *data)
    for form in (data, list(data), TensorDataset(*data), Items(*data), DataLoader(Items(*data), 4, shuffle=True)):
        assert accuracy(model, form, batch_size=3) == pytest.approx(expected, abs=1e-12)
    inputs, labels = over_time()
    alone = [int(OverTime().eval()(inputs[:, i : i + 1]).mean(0).argmax() == labels[i]) for i in range(16)]
    assert accuracy(OverTime(), inputs, labels, 5, batch_dim=1) == sum(alone) / 16
    assert accuracy(OverTime(), Items(inputs, labels, dim=1), batch_dim=1, workers=2) == sum(alone) / 16
