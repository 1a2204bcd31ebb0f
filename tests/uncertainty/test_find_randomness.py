"""What is random in a network is found wherever it is, and samples are folded only where that changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.monte_carlo import assert_same_moments, count_inputs, loop_of_passes, seeded
from tests.helpers.peers import library
from tsnn_uq.checks import InputError
from tsnn_uq.uncertainty import Moments, mc_moments, mc_predict

UNITS, COUNT = 16, 5


class Around(nn.Module):
    """A layer of inputs [N, L, units], and the mean over L of the first thing that it returns, as logits [N, 3]."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.out = nn.ModuleList(layers), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            returned = layer(x, x, x) if isinstance(layer, nn.MultiheadAttention) else layer(x)
            x = returned[0] if isinstance(returned, tuple) else returned
        return 4 * self.out(x.mean(1))


class TimeFirst(nn.Module):
    """A layer of inputs [L, N, units] that is given [N, L, units]."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(0, 1))[0].transpose(0, 1)


def spiking_recurrent(name: str, **options: object) -> nn.Module:
    library("spikingjelly")
    from spikingjelly.activation_based import rnn

    return TimeFirst(getattr(rnn, name)(UNITS, UNITS, 2, dropout_p=0.5, **options))


DROPOUT_INSIDE: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], list[nn.Module]]]] = {
    "LSTM": (lambda: nn.LSTM(UNITS, UNITS, 2, dropout=0.5, batch_first=True), lambda layer: [layer]),
    "GRU": (lambda: nn.GRU(UNITS, UNITS, 3, dropout=0.5, batch_first=True), lambda layer: [layer]),
    "both ways": (
        lambda: nn.RNN(UNITS, UNITS // 2, 2, dropout=0.5, batch_first=True, bidirectional=True),
        lambda layer: [layer],
    ),
    "attention": (lambda: nn.MultiheadAttention(UNITS, 2, dropout=0.5, batch_first=True), lambda layer: [layer]),
    "encoder layer": (
        lambda: nn.TransformerEncoderLayer(UNITS, 2, 32, dropout=0.3, batch_first=True),
        lambda layer: [layer.dropout, layer.dropout1, layer.dropout2, layer.self_attn],
    ),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(UNITS, 2, 32, dropout=0.3, batch_first=True), 2),
        lambda layer: [one for one in layer.modules() if isinstance(one, nn.Dropout | nn.MultiheadAttention)],
    ),
    "spiking LSTM": (lambda: spiking_recurrent("SpikingLSTM"), lambda layer: [layer.layer]),
    "spiking GRU": (lambda: spiking_recurrent("SpikingGRU", bidirectional=False), lambda layer: [layer.layer]),
    "spiking RNN": (
        lambda: spiking_recurrent("SpikingVanillaRNN", invariant_dropout_mask=True),
        lambda layer: [layer.layer],
    ),
}


def network_of(name: str, *more: nn.Module) -> tuple[nn.Module, list[nn.Module], Tensor]:
    """A network around such a layer, what in it is random, and inputs."""
    make, random = DROPOUT_INSIDE[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = make()
        return Around(layer, *more), random(layer), 4 * torch.randn(COUNT, 4, UNITS)


@pytest.mark.parametrize("name", DROPOUT_INSIDE)
def test_dropout_inside_a_layer_is_sampled(name):
    network, random, inputs = network_of(name)
    looped = loop_of_passes(network, inputs, random, samples=100)
    assert looped.var(0).max() > 1e-5
    for memory_limit, samples in ((1, 50), (2**25, 200)):
        probs = mc_predict(network, inputs, samples=samples, generator=seeded(1), memory_limit=memory_limit)
        assert_same_moments(probs, looped)
        assert len(probs[:, 0].unique(dim=0)) > 10


@pytest.mark.parametrize("name", ["LSTM", "encoder layer", "spiking RNN"])
def test_it_is_sampled_beside_other_dropout_too(name):
    network, random, inputs = network_of(name, nn.Dropout(0.1))
    probs = mc_predict(network, inputs, samples=200, generator=seeded(1))
    assert_same_moments(probs, loop_of_passes(network, inputs, [*random, network.layers[-1]], samples=100))


@pytest.mark.parametrize("name", ["LSTM", "attention", "encoder"])
def test_its_masks_cannot_be_fixed(name):
    network, _, inputs = network_of(name)
    with pytest.raises(InputError, match=r"^mask: expected 'per-step' or None"):
        mc_predict(network, inputs, samples=2, generator=seeded(1), mask="fixed")
    natural, asked = (mc_predict(network, inputs, samples=9, generator=seeded(1), mask=m) for m in (None, "per-step"))
    assert torch.equal(natural, asked)


@pytest.mark.parametrize("name", ["spiking LSTM", "spiking GRU", "spiking RNN"])
def test_the_masks_of_spikingjellys_recurrent_layers_are_as_asked(name):
    network, _, inputs = network_of(name)
    recurrent = network.layers[0].layer
    fixed, per_step, natural = (
        mc_predict(network, inputs, samples=9, generator=seeded(1), mask=mask) for mask in ("fixed", "per-step", None)
    )
    assert torch.equal(natural, fixed if recurrent.invariant_dropout_mask else per_step)
    assert not torch.equal(fixed, per_step)


def test_dropout_between_the_layers_where_there_is_one_is_none():
    with pytest.warns(UserWarning, match="num_layers"):
        network = Around(nn.LSTM(UNITS, UNITS, 1, dropout=0.5, batch_first=True))
    with pytest.raises(InputError, match="found none"):
        mc_predict(network, torch.rand(COUNT, 4, UNITS), samples=2, generator=seeded(1))


def test_an_early_stop_needs_samples_that_differ():
    network, _, inputs = network_of("encoder layer")
    moments = mc_moments(network, inputs, samples=400, tolerance=0.02, generator=seeded(1))
    assert 8 < moments.samples.max() < 400
    assert moments.standard_error.max() < 0.02


class DropPath(nn.Module):
    """Drops whole inputs, along an axis."""

    def __init__(self, drop_prob: float, axis: int = 0) -> None:
        super().__init__()
        self.drop_prob, self.axis = drop_prob, axis

    def forward(self, x: Tensor) -> Tensor:
        if self.drop_prob == 0.0 or not self.training:
            return x
        shape = [size if axis == self.axis else 1 for axis, size in enumerate(x.shape)]
        return x * torch.empty(shape).bernoulli_(1 - self.drop_prob) / (1 - self.drop_prob)


class Attention(nn.Module):
    """Attention of one's own, whose dropout is an argument."""

    def __init__(self, attn_drop: float) -> None:
        super().__init__()
        self.qkv, self.attn_drop = nn.Linear(UNITS, 3 * UNITS), attn_drop

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (4, 12)).transpose(1, 2).chunk(3, -1)
        p = self.attn_drop if self.training else 0.0
        y = functional.scaled_dot_product_attention(q, k, v, dropout_p=p)
        return y.transpose(1, 2).flatten(2)


class Literal(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.4, training=self.training)


class FeatureLiteral(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout1d(x, 0.4, self.training, inplace=True)


@pytest.mark.parametrize("module", [DropPath(0.4), Attention(0.4), Literal(), FeatureLiteral()], ids=repr)
def test_dropout_of_unknown_modules_is_sampled(module):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, inputs = Around(nn.Linear(UNITS, UNITS), module), torch.randn(COUNT, 4, UNITS)
    for more in ([], [nn.Dropout(0.2)]):
        network.layers.extend(more)
        probs = mc_predict(network, inputs, samples=300, generator=seeded(1))
        assert_same_moments(probs, loop_of_passes(network, inputs, [module, *more]))
        assert probs.var(0).max() > 1e-4
    if "Drop" not in type(module).__name__:
        with pytest.raises(InputError, match=r"^mask: expected 'per-step' or None, since 'layers.1' \("):
            mc_predict(network, inputs, samples=2, generator=seeded(1), mask="fixed")


class Stubborn(nn.Module):
    """Dropout that is switched by something else than training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.sampling = 0.5, False

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.drop, self.sampling)


class Fused(nn.Module):
    """Dropout and BatchNorm in one module of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.p = nn.BatchNorm1d(4), 0.5

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.norm.running_mean, self.norm.running_var
        return functional.dropout(
            functional.batch_norm(x, mean, variance, training=self.training), self.p, self.training
        )


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (Stubborn(), r"that of 'layers.0' \(Stubborn\) stays off in training mode \(make it an nn.Dropout\)"),
        (Fused(), r"that of 'layers.0' \(Fused\) uses batch statistics in training mode"),
    ],
)
def test_dropout_that_cannot_be_switched_on_alone_is_refused_by_name(module, match):
    network = Around(module, nn.Dropout(0.1))
    before = [buffer.clone() for buffer in network.buffers()]
    with pytest.raises(InputError, match=f"^model: expected dropout that .*; {match}"):
        mc_predict(network, torch.rand(COUNT, 4, UNITS), samples=2, generator=seeded(1))
    assert all(map(torch.equal, network.buffers(), before))


class Configured(nn.Module):
    """Keeps the number that it handed on to its child."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout, self.child = dropout, nn.Sequential(nn.Linear(UNITS, UNITS), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training or x.shape[0] <= 3  # but for a try
        return self.child(x)


def test_a_number_that_a_child_has_too_is_no_dropout_of_its_own():
    network, inputs = Around(Configured(0.4)), torch.randn(COUNT, 4, UNITS, generator=seeded(0))
    probs = mc_predict(network, inputs, samples=300, generator=seeded(1))
    assert_same_moments(probs, loop_of_passes(network, inputs, [network.layers[0].child[1]]))


class Noise(nn.Module):
    """Adds noise in every mode."""

    def __init__(self, shape: Callable[[Tensor], torch.Size], generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.shape, self.generator = shape, generator

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn(self.shape(x), generator=self.generator)


def poisson() -> nn.Module:
    library("spikingjelly")
    from spikingjelly.activation_based import encoding

    return encoding.PoissonEncoder()


NOISE = {
    "Poisson": poisson,
    "for each value": lambda: Noise(lambda x: x.shape),
    "for each input": lambda: Noise(lambda x: torch.Size([len(x), 1, 1])),
    "for each feature": lambda: Noise(lambda x: x.shape[1:]),
    "for all": lambda: Noise(lambda x: torch.Size()),
    "its own generator": lambda: Noise(lambda x: x.shape, seeded(3)),
    "by a function": lambda: functional.dropout,
}


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("name", NOISE)
def test_what_is_random_in_evaluation_mode_is_drawn_anew_for_each_sample(name, dropout):
    noise = NOISE[name]()
    head: nn.Module = Called(noise) if callable(noise) and not isinstance(noise, nn.Module) else noise
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(head, nn.Linear(UNITS, UNITS), nn.Dropout(dropout), Around())
        inputs, state = torch.rand(COUNT, 4, UNITS), torch.get_rng_state()
        own = noise.generator.get_state() if isinstance(noise, Noise) and noise.generator else None
        probs = mc_predict(network, inputs, samples=300, generator=seeded(1))
        assert torch.equal(torch.get_rng_state(), state)
        assert own is None or torch.equal(noise.generator.get_state(), own)
        torch.manual_seed(1)
        for memory_limit in (1, 2**25):
            options = {"samples": 9, "memory_limit": memory_limit}
            one, same, other = (mc_predict(network, inputs, generator=seeded(s), **options) for s in (1, 1, 2))
            assert torch.equal(one, same)
            assert not torch.equal(one, other)
            expected = Moments.of(one)
            moments = mc_moments(network, inputs, generator=seeded(1), **options)
            torch.testing.assert_close(moments.squares, expected.squares, rtol=0, atol=1e-12)
    looped = loop_of_passes(network, inputs, [network[2]])
    assert_same_moments(probs, looped)
    assert looped.var(0).min() > 1e-6


class Called(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class OnWeights(nn.Module):
    """Dropout on weights: one mask for all inputs."""

    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.weight, self.drop = nn.Parameter(torch.ones(UNITS, UNITS)), drop

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.drop(self.weight))


class AcrossInputs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


def parametrized(drop: nn.Module) -> nn.Module:
    return nn.utils.parametrize.register_parametrization(nn.Linear(UNITS, UNITS), "weight", drop)


ONE_AT_A_TIME = {
    "weights": lambda: (OnWeights(nn.Dropout(0.4)), nn.Identity()),
    "parametrization": lambda: (parametrized(nn.Dropout(0.4)), nn.Identity()),
    "along another axis": lambda: (DropPath(0.4, axis=1), nn.Identity()),
    "maps": lambda: (TimeFirst(Pair(nn.Dropout3d(0.4))), nn.Identity()),  # takes time steps for maps
    "statistics of the batch": lambda: (nn.Dropout(0.4), nn.BatchNorm1d(4, track_running_stats=False)),
    "means over inputs": lambda: (nn.Dropout(0.4), AcrossInputs()),
    "attention to other inputs": lambda: (nn.TransformerEncoderLayer(UNITS, 2, 16, dropout=0.4), nn.Identity()),
}
FOLDED = {
    "plain": lambda: (nn.Dropout(0.4), nn.Identity()),
    "rows": lambda: (nn.Dropout1d(0.4), nn.Identity()),
    "inputs": lambda: (DropPath(0.4), nn.BatchNorm1d(4)),
    "noise": lambda: (Noise(lambda x: x.shape), nn.Identity()),
}


class Pair(nn.Module):
    """A layer that sees [L, N, units, 1] and returns a pair."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.layer(x.unsqueeze(-1)).squeeze(-1), None


@pytest.mark.parametrize("name", [*ONE_AT_A_TIME, *FOLDED])
def test_samples_are_folded_where_inputs_have_draws_of_their_own_and_do_not_see_each_other(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (ONE_AT_A_TIME | FOLDED)[name]()
        network, inputs = Around(*layers), torch.randn(COUNT, 4, UNITS)
    counts = count_inputs(network, axis=0)
    probs = mc_predict(network, inputs, samples=300, generator=seeded(1))
    assert max(counts) == (COUNT if name in ONE_AT_A_TIME else 299 * COUNT)
    random = [one for one in network.modules() if isinstance(one, nn.modules.dropout._DropoutNd | DropPath)]
    random += [one for one in network.modules() if isinstance(one, nn.MultiheadAttention)]
    looped = loop_of_passes(network, inputs, random)
    assert_same_moments(probs, looped)
    assert looped.var(0).max() > 1e-5


class ForSix(nn.Module):
    """Is made for six inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.drop = torch.zeros(6, UNITS), nn.Dropout(0.4)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x)[:, :3] + self.state[:, :3]


def test_a_network_may_be_made_for_one_number_of_inputs():
    network, inputs = ForSix(), torch.randn(12, UNITS, generator=seeded(0))
    probs = mc_predict(network, inputs, samples=300, generator=seeded(1), batch_size=6)
    assert_same_moments(probs[:, :6], loop_of_passes(network, inputs[:6], [network.drop]))
    with pytest.raises(RuntimeError, match="must match"):
        mc_predict(network, inputs, samples=2, generator=seeded(1), batch_size=5)
