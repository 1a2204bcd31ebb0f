"""Random bits of the kernels: torch's own generator is the oracle."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.spiking import fill, seeded
from tsnn_uq.fast.engine import torch_rng
from tsnn_uq.fast.engine.layers import pack_bits
from tsnn_uq.fast.engine.masks import Draw
from tsnn_uq.fast.engine.packed_masks import PackedDraw, pack_maps
from tsnn_uq.fast.engine.translate import translate
from tsnn_uq.networks import build

SEEDS = st.integers(0, 2**63 - 1)
PROBABILITIES = st.floats(0, 1, exclude_max=True) | st.sampled_from([0.1, 0.2, 0.5, 2**-24, 1 - 2**-24, 1 - 2**-30])


def uniform(seed: int, *shape: int) -> torch.Tensor:
    return torch.empty(shape).uniform_(generator=torch.Generator().manual_seed(seed))


@given(SEEDS, st.integers(1, 3 * torch_rng.SIZE))
def test_numbers_are_those_of_torch(seed, count):
    assert torch.equal(torch.from_numpy(torch_rng.uniform(seed, count)), uniform(seed, count))


def test_the_installed_torch_is_followed():
    assert torch_rng.follows_torch()


@given(SEEDS, PROBABILITIES, st.integers(1, 70), st.integers(1, 40), st.integers(1, 9))
def test_weights_are_dropped_where_a_number_is_below_p(seed, p, outputs, channels, places):
    words = torch_rng.dropped_weights(seed, p, outputs, channels, places)
    dropped = uniform(seed, outputs, channels, places) < p
    expected = pack_bits(dropped.permute(2, 1, 0).reshape(places * channels, outputs))
    assert torch.equal(torch.from_numpy(words.view("i4")), expected)


@given(SEEDS, PROBABILITIES, st.integers(1, 3), st.integers(1, 5), st.integers(1, 70), st.integers(1, 9))
def test_spikes_stay_where_a_number_is_not_below_p(seed, p, steps, count, channels, pixels):
    words = torch_rng.kept_spikes(seed, p, steps, count, channels, pixels)
    kept = (uniform(seed, steps, count, channels, pixels) >= p).permute(1, 0, 3, 2)
    assert (words == pack_maps(kept.unsqueeze(3))).all()


@pytest.mark.parametrize("follows", [True, False])
@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_packed_masks_are_the_plain_ones_whatever_torch_draws(family, follows, monkeypatch):
    monkeypatch.setattr(torch_rng, "follows_torch", lambda: follows)
    network = fill(build(family, generator=seeded(0), sizes=(60, 40, 33, 10), steps=2, p=0.3), "power of two")
    layers = translate(network).layers
    plain, packed = (kind(seed=1, block=0, steps=2, count=3) for kind in (Draw, PackedDraw))
    spikes = [pack_maps(mask.transpose(0, 1)) for mask in plain.inputs(layers, 5)]
    assert len(spikes) == (2 if family == "dropout" else 0)
    for ours, theirs in zip(packed.words(layers, 5), spikes, strict=True):
        assert (ours == theirs).all()
    for layer in layers:
        ours, theirs = packed.weights(layer, 5), plain.weights(layer, 5)
        assert (ours is layer) == (family == "dropout")
        assert torch.equal(ours.planes, theirs.planes)
