from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.data import TensorDataset

from tests.helpers.training import EAGER, TINY, images, mlp, network, same
from tsnn_uq.bayes import dropconnect_posterior, gaussian_posterior, infer, ternary_posterior
from tsnn_uq.bayes.variational_layer import VariationalLayer
from tsnn_uq.checks import InputError
from tsnn_uq.engine import Engine
from tsnn_uq.networks import OverTime
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.quantization.rules import ternary_parts
from tsnn_uq.readout import logits
from tsnn_uq.training import FitSettings, fit
from tsnn_uq.uncertainty import make_deterministic, make_stochastic, mc_predict, set_generator

SETTINGS = FitSettings(epochs=2, batch_size=6, learning_rate=0.05, weight_decay=0.0)
STEPS = 6
KINDS = {
    "ternary": ternary_posterior,
    "ternary-flipout": lambda model: ternary_posterior(model, noise="flipout"),
    "ternary-weights": lambda model: ternary_posterior(model, noise="weights"),
    "gaussian": gaussian_posterior,
    "dropconnect": lambda model: dropconnect_posterior(model, p=0.3),
}
NETWORKS = {
    "dropout": lambda: network("dropout", neuron=EAGER),
    "dropconnect": lambda: network("dropconnect", neuron=EAGER),
    "plif": lambda: network("plif"),
    "slayer": lambda: network("slayer"),
    "plain": mlp,
}
pairs = pytest.mark.parametrize(("kind", "net"), [(kind, net) for kind in KINDS for net in NETWORKS])
# Every kind and every network, and not each with all others.
some_pairs = pytest.mark.parametrize(
    ("kind", "net"),
    [
        *(("ternary", net) for net in NETWORKS),
        *(("gaussian", net) for net in ("dropout", "plif", "plain")),
        *(("ternary-flipout", net) for net in ("dropconnect", "plain")),
        *(("ternary-weights", net) for net in ("dropout", "slayer")),
        *(("dropconnect", net) for net in ("dropconnect", "slayer")),
    ],
)


class Stop(Exception):
    """An interruption."""


@pairs
def test_draws_are_networks_of_the_old_kind(kind, net, generator):
    original = NETWORKS[net]()
    posterior = KINDS[kind](original)
    drawn = posterior.sample(generator)
    assert [type(module) for module in drawn.modules()] == [type(module) for module in original.modules()]
    assert list(drawn.state_dict()) == list(original.state_dict())
    assert not drawn.training
    assert not same(drawn, posterior.sample(generator))
    again = [posterior.sample(torch.Generator().manual_seed(5)) for _ in range(2)]
    assert same(*again)
    if kind.startswith("ternary"):
        for name, family in posterior.weights.items():
            values = drawn.get_submodule(name).weight.unique()
            assert set(values.tolist()) <= {-family.scale.item(), 0.0, family.scale.item()}


@some_pairs
def test_posteriors_learn_and_resume_with_the_same_bits(tmp_path, kind, net):
    """Killed after each step and called again."""

    def run(stop=None, **options):
        posterior = KINDS[kind](NETWORKS[net]())

        def progress(done, total):
            if done == stop:
                raise Stop

        return posterior, infer(
            posterior, images(), seed=3, warm_up=0.5, settings=SETTINGS, progress=progress, **options
        )

    whole, history = run()
    before = KINDS[kind](NETWORKS[net]())
    learned = dict(whole.named_parameters())
    for name, value in before.named_parameters():
        assert value.requires_grad <= (not torch.equal(value, learned[name])), name
    options = {"checkpoint": tmp_path / "run", "checkpoint_seconds": 0}
    for stop in (1, 4):
        with pytest.raises(Stop):
            run(stop, **options)
    resumed, again = run(**options)
    assert same(resumed, whole)
    assert again.loss == history.loss


class TimeFirst(nn.Module):
    """Takes inputs over time [T, N, 4]."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.layer(inputs)


def test_posteriors_learn_from_any_data_also_over_time():
    inputs, labels = torch.rand(5, 16, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 3
    losses = []
    items = [(inputs[:, k], int(labels[k])) for k in range(16)]
    for train in ((inputs, labels), TensorDataset(inputs.transpose(0, 1), labels), items):
        posterior = ternary_posterior(TimeFirst())
        options = {"validation": train, "augment": lambda given, generator: 2 * given}
        losses.append(infer(posterior, train, seed=0, settings=SETTINGS, batch_dim=1, **options).loss)
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_is_the_network_of_means(kind):
    original = network("dropout", neuron=EAGER)
    posterior = KINDS[kind](original).eval()
    means = {f"{name}.weight": family.moments()[0].detach() for name, family in posterior.weights.items()}
    original.load_state_dict(means)
    torch.testing.assert_close(posterior(images()[0]), original.eval()(images()[0]))


def test_likelihood_by_outputs_is_that_of_drawn_networks(generator):
    """The central limit at work: over noise, and over networks, of a layer of 64 inputs."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    posterior = ternary_posterior(model, prior=(0.3, 0.4, 0.3))
    x = torch.rand(1, 64, generator=generator) * 3
    y = torch.tensor([1])
    set_generator(posterior.train(), generator)
    with torch.no_grad():
        local = nn.functional.cross_entropy(posterior(x.expand(4000, 64)), y.expand(4000))
        drawn = torch.stack([nn.functional.cross_entropy(posterior.sample(generator)(x), y) for _ in range(1000)])
    assert abs(local - drawn.mean()) < 4 * drawn.std() / 1000**0.5 + 0.01


def convolution():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))


@pytest.mark.parametrize("model", [lambda: network("dropout", p=0.0, neuron=EAGER), convolution])
def test_drawn_weights_are_the_same_for_all_inputs_of_a_pass_and_others_for_each_sample(model):
    """Each pass is a ternary network: the one with the weights that its generators draw, layer by layer."""
    posterior = ternary_posterior(model(), noise="weights").train()
    inputs = images()[0]
    set_generator(posterior, *(torch.Generator().manual_seed(seed) for seed in (1, 2)))
    with torch.no_grad():
        passes = posterior(torch.cat([inputs, inputs])).split(len(inputs), -2)
    for seed, given in zip((1, 2), passes, strict=True):
        generator = torch.Generator().manual_seed(seed)
        drawn = model().eval()
        for name, family in posterior.weights.items():
            drawn.get_submodule(name).weight.data = family.rsample(generator).detach()
        torch.testing.assert_close(given, drawn(inputs))
    assert not torch.equal(*passes)


def test_prediction_is_that_of_the_draws(generator):
    posterior = ternary_posterior(network("dropout", p=0.0, neuron=EAGER))
    probs = posterior.predict(images()[0], samples=5, generator=generator)
    networks = posterior.samples(5, torch.Generator().manual_seed(0))
    expected = torch.stack([logits(one(images()[0])).softmax(-1) for one in networks])
    assert probs.shape == (5, 16, 3)
    # What is drawn in between is a seed for the masks, of which there are none.
    first = posterior.predict(images()[0], samples=1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(first[0], expected[0])
    torch.testing.assert_close(mc_predict(networks, images()[0]), expected)
    assert posterior.predict(images()[0], samples=2, generator=generator, per_step=True).shape == (2, 2, 16, 3)


def test_draws_run_in_the_engine(generator):
    drawn = ternary_posterior(network("dropout", neuron=EAGER)).sample(generator)
    engine = Engine(drawn)
    torch.testing.assert_close(engine.logits(images()[0]), logits(drawn(images()[0])), atol=1e-5, rtol=1e-5)


def test_sparsity_grows_with_the_prior_on_zero(generator):
    shares = []
    for zero in (0.1, 0.5, 0.9):
        posterior = ternary_posterior(network("dropout"), prior=((1 - zero) / 2, zero, (1 - zero) / 2))
        settings = FitSettings(epochs=20, batch_size=16, learning_rate=0.3, weight_decay=0.0)
        infer(posterior, images(), seed=0, settings=settings)
        weights = torch.cat([value.flatten() for value in posterior.sample(generator).parameters()])
        shares.append((weights == 0).double().mean().item())
    assert shares[0] < 0.3 < shares[1] < 0.7 < shares[2]


def test_a_ternary_network_stays_ternary_in_its_mode_and_with_dropconnect(generator):
    model = network("dropconnect", p=0.25)
    ternarize(model)
    freeze(model)
    for mine, other in zip(ternary_posterior(model).mode().parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, other)
    drawn = dropconnect_posterior(model).sample(generator)
    for name in dropconnect_posterior(model).weights:
        codes, scale = ternary_parts(drawn.get_submodule(name).weight)
        before, scale_before = ternary_parts(model.get_submodule(name).weight)
        torch.testing.assert_close(scale * 0.75, scale_before)
        assert (codes * before >= 0).all()
        assert codes.abs().sum() < before.abs().sum()
        assert drawn.get_submodule(name).p == 0  # it is in the weights now


def test_folded_samples_of_mc_predict_have_noise_of_their_own(generator):
    posterior = gaussian_posterior(network("dropout", p=0.0, neuron=EAGER), initial_std=1.0)
    one, two = mc_predict(posterior, images()[0], samples=2, generator=generator)
    assert not torch.equal(one, two)
    few = mc_predict(posterior, images()[0], samples=2, generator=generator.manual_seed(7), memory_limit=1)
    many = mc_predict(posterior, images()[0], samples=2, generator=generator.manual_seed(7))
    torch.testing.assert_close(few, many)


def test_held_input_is_held_and_takes_the_noise_once(generator):
    layer = VariationalLayer(nn.Linear(4, 2), gaussian_posterior(nn.Linear(4, 2)).weights[""])
    set_generator(layer.train(), generator)
    layer.expected = 3
    outputs = layer(torch.rand(3, 4, generator=generator).expand(5, 3, 4))
    assert outputs.stride(0) == 0
    assert torch.equal(outputs[0], outputs[4])


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 8)), OverTime(nn.Linear(8, 3))),
        nn.Sequential(nn.Flatten(), nn.Sequential(*[nn.Linear(16, 16)] * 2)),
    ],
    ids=["folded", "twice"],
)
def test_steps_with_noise_of_their_own_are_refused(generator, model):
    posterior = gaussian_posterior(model).train()
    set_generator(posterior, generator)
    with pytest.raises(InputError, match="inputs: expected all steps of the network's"):
        posterior(images()[0])


def test_bad_choices_are_refused():
    model = network("dropout")
    with pytest.raises(InputError, match="noise: expected one of"):
        ternary_posterior(model, noise="exakt")
    with pytest.raises(InputError, match="layers: expected names among"):
        ternary_posterior(model, ["nowhere"])
    with pytest.raises(InputError, match="p: expected a probability, since layers 2"):
        dropconnect_posterior(model)
    with pytest.raises(InputError, match="weight_decay: expected 0"):
        infer(ternary_posterior(model), images(), seed=0, settings=TINY)
    with pytest.raises(InputError, match="posterior: expected a VariationalPosterior"):
        infer(model, images(), seed=0)
    ternarize(model)
    for change in (lambda: None, lambda: make_stochastic(model, "dropconnect"), lambda: freeze(model)):
        change()
        with pytest.raises(InputError, match=r"layers: expected plain weights; that of '.'"):
            ternary_posterior(model)
    make_deterministic(model)
    assert ternary_posterior(model).family == "ternary"
    prune.l1_unstructured(model[-1], "weight", amount=0.2)
    with pytest.raises(InputError, match="computed by a hook"):
        ternary_posterior(model)
    posterior = ternary_posterior(network("dropout"))
    with pytest.raises(InputError, match="mask: expected 'fixed'"):
        mc_predict(posterior, images()[0], samples=2, generator=torch.Generator(), mask="per-step")


def test_the_network_it_began_at_stays_as_it_is():
    model = network("dropconnect")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    infer(ternary_posterior(model), images(), seed=0, settings=SETTINGS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[2].p == 0.2
    fit(model, images(), seed=0, settings=TINY)  # still trains
