from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tsnn_uq.checks import InputError
from tsnn_uq.coding import (
    CODINGS,
    Coding,
    bernoulli_rate,
    constant_current,
    is_constant_over_time,
    latency,
    pack_spikes,
    unpack_spikes,
)

intensities = st.sampled_from([0.0, 1.0, 0.5, 1 / 255, 254 / 255]) | st.floats(0, 1, width=32)
steps_ = st.integers(1, 12)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_constant_current_repeats_its_input_without_copying():
    x = torch.arange(12.0).view(3, 1, 2, 2)
    coded = constant_current(x, 5)
    assert coded.shape == (5, 3, 1, 2, 2)
    assert all(torch.equal(step, x) for step in coded)
    assert coded.data_ptr() == x.data_ptr()


def test_what_is_constant_is_known_by_its_layout():
    x = torch.rand(3, 1, 4, 4, generator=seeded())
    coded = constant_current(x, 5)
    assert is_constant_over_time(coded)
    assert is_constant_over_time(coded.flatten(2))
    assert is_constant_over_time(x[None])
    assert is_constant_over_time(constant_current(x, 1))
    assert not is_constant_over_time(coded.contiguous())
    assert not is_constant_over_time(bernoulli_rate(x, 5, seeded()))
    assert not is_constant_over_time(torch.empty(0, 3))


@given(st.lists(intensities, min_size=1, max_size=6), steps_)
def test_latency_fires_once_at_the_step_its_formula_gives(values, steps):
    x = torch.tensor(values)
    spikes = latency(x, steps)
    for i, value in enumerate(x):
        # Python's round, like torch's, takes halves to the even number.
        expected = [0.0] * steps
        if value > 0:
            expected[round(((1 - value) * (steps - 1)).item())] = 1.0
        assert spikes[:, i].tolist() == expected


@given(st.lists(intensities, min_size=1, max_size=6), st.integers(2, 12))
def test_latency_is_snntorchs_linear_one(values, steps):
    spikegen = pytest.importorskip("snntorch.spikegen", reason="snntorch is not installed")
    x = torch.tensor(values)
    tiny = torch.finfo(torch.float32).tiny  # theirs fires where x >= threshold, ours where x > 0
    x[x < tiny] = 0
    theirs = spikegen.latency(x, num_steps=steps, threshold=tiny, linear=True, normalize=True, clip=True)
    assert torch.equal(latency(x, steps), theirs)


@given(st.lists(intensities, min_size=1, max_size=6), steps_, st.integers(0, 3))
def test_rate_draws_each_step_and_input_for_itself(values, steps, seed):
    x = torch.tensor(values)
    spikes = bernoulli_rate(x, steps, seeded(seed))
    assert spikes.shape == (steps, len(values))
    assert spikes.dtype == x.dtype
    assert set(spikes.flatten().tolist()) <= {0.0, 1.0}
    assert (spikes[:, x == 0] == 0).all()
    assert (spikes[:, x == 1] == 1).all()
    assert torch.equal(spikes, bernoulli_rate(x, steps, seeded(seed)))


def test_rate_has_the_frequency_and_the_independence_of_bernoulli():
    p, steps = 0.3, 20_000
    spikes = bernoulli_rate(torch.full((2,), p), steps, seeded())
    spread = (p * (1 - p) / steps) ** 0.5
    assert ((spikes.mean(0) - p).abs() < 5 * spread).all()
    deviation = spikes - p
    error = 5 * p * (1 - p) / steps**0.5  # five standard errors of a product of independent deviations
    assert abs((deviation[:, 0] * deviation[:, 1]).mean()) < error
    assert abs((deviation[1:, 0] * deviation[:-1, 0]).mean()) < error


def test_rate_is_snntorchs_in_distribution():
    spikegen = pytest.importorskip("snntorch.spikegen", reason="snntorch is not installed")
    x, steps = torch.tensor([0.0, 0.2, 0.9, 1.0]), 5_000
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = spikegen.rate(x, num_steps=steps)
    ours = bernoulli_rate(x, steps, seeded())
    spread = (2 * x * (1 - x) / steps).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() <= 5 * spread).all()


@pytest.mark.parametrize("code", [latency, lambda x, steps: bernoulli_rate(x, steps, seeded())])
@pytest.mark.parametrize(
    ("x", "match"),
    [
        (torch.tensor([1.5]), "expected 0 <= value <= 1"),
        (torch.tensor([-0.5]), "expected 0 <= value <= 1"),
        (torch.tensor([0.5, float("nan")]), "expected 0 <= value <= 1"),
        (torch.tensor([1]), "expected floating-point intensities"),
    ],
)
def test_intensities_outside_the_unit_interval_are_refused(code, x, match):
    with pytest.raises(InputError, match=f"^x: {match}"):
        code(x, 3)


@pytest.mark.parametrize("code", [constant_current, latency, lambda x, steps: bernoulli_rate(x, steps, seeded())])
@pytest.mark.parametrize("steps", [0, -1, 2.0])
def test_steps_must_be_a_positive_whole_number(code, steps):
    with pytest.raises(InputError, match=r"^steps: expected a positive whole number"):
        code(torch.ones(1), steps)


@pytest.mark.parametrize("kind", [kind for kind in CODINGS if kind != "events"])
def test_the_layer_is_the_function_times_gain(kind):
    x = torch.rand(3, 1, 4, 4, generator=seeded())
    layer = Coding(kind, steps=6, gain=2.5)
    layer.generators = (seeded(1),)
    bare = {
        "constant": lambda: constant_current(x, 6),
        "rate": lambda: bernoulli_rate(x, 6, seeded(1)),
        "latency": lambda: latency(x, 6),
    }[kind]()
    coded = layer(x)
    assert torch.equal(coded, 2.5 * bare)
    assert is_constant_over_time(coded) == (kind == "constant")
    assert layer.stochastic == (kind == "rate")
    assert torch.equal(layer(x), coded) != layer.stochastic
    assert repr(layer) == f"Coding({kind!r}, steps=6, gain=2.5)"
    assert layer.state_dict() == {}


def test_the_layer_can_be_copied_and_moved_with_its_network():
    network = nn.Sequential(Coding("rate", steps=3), nn.Flatten(2))
    network[0].generators = (seeded(),)
    twin = copy.deepcopy(network).double()
    x = torch.rand(2, 1, 2, 2, generator=seeded(1))
    assert torch.equal(network(x), twin(x))


def test_rate_without_a_generator_says_what_to_set():
    with pytest.raises(InputError, match=r"^generators: expected set_generator.* before rate coding, .*the 1 images"):
        Coding("rate", steps=2)(torch.ones(1))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"kind": "latncy"}, "^kind: expected one of"),
        ({"steps": 0}, "^steps: expected a positive whole number"),
        ({"gain": 0.0}, "^gain: expected a positive number"),
    ],
)
def test_the_layer_checks_its_arguments(arguments, match):
    with pytest.raises(InputError, match=match):
        Coding(**arguments)


@given(st.lists(st.integers(0, 3), max_size=2), st.integers(1, 40), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 9))
def test_packed_spikes_are_numpys_packed_bits_and_come_back(lead, count, rate, seed):
    spikes = torch.rand(*lead, count, generator=seeded(seed)) < rate
    expected = np.packbits(spikes.numpy(), axis=-1, bitorder="little")
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64):
        packed = pack_spikes(spikes.to(dtype))
        assert packed.dtype == torch.uint8
        assert np.array_equal(packed.numpy(), expected)
        back = unpack_spikes(packed, count, dtype)
        assert back.dtype == dtype
        assert torch.equal(back, spikes.to(dtype))


def test_each_of_the_256_bytes_is_looked_up_right():
    packed = torch.arange(256, dtype=torch.uint8).unsqueeze(1)
    spikes = unpack_spikes(packed, 8)
    assert spikes.dtype == torch.float32
    assert [int(sum(bit * 2**place for place, bit in enumerate(row))) for row in spikes.tolist()] == list(range(256))


def test_packing_does_not_mind_the_layout_in_memory():
    spikes = (torch.rand(5, 7, 19, generator=seeded()) < 0.5).transpose(0, 1)
    packed = pack_spikes(spikes)
    assert torch.equal(unpack_spikes(packed.transpose(0, 1), 19, torch.bool), spikes.transpose(0, 1))


@pytest.mark.parametrize("value", [2, -1, 256, 257, 0.5, 1.5, float("nan"), float("inf")])
def test_what_is_no_spike_is_not_packed(value):
    with pytest.raises(InputError, match=r"^spikes: expected only 0 and 1"):
        pack_spikes(torch.tensor([0, 1, value]))


@pytest.mark.parametrize(
    ("packed", "count", "match"),
    [
        (torch.zeros(2, 2, dtype=torch.uint8), 17, r"^packed: expected uint8 of shape \[..., 3\]"),
        (torch.zeros(2, 2, dtype=torch.uint8), 8, r"^packed: expected uint8 of shape \[..., 1\]"),
        (torch.zeros(2, 2), 16, "^packed: expected uint8"),
        (torch.tensor(3, dtype=torch.uint8), 8, r"^packed: expected uint8 of shape"),
        (torch.zeros(2, 2, dtype=torch.uint8), 0, r"^count: expected a positive whole number"),
    ],
)
def test_packed_spikes_must_fit_their_count(packed, count, match):
    with pytest.raises(InputError, match=match):
        unpack_spikes(packed, count)
    with pytest.raises(InputError, match=r"^spikes: expected a tensor of shape \[\.\.\., K\]"):
        pack_spikes(torch.tensor(1))
