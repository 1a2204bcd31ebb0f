from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.coding import pack_spikes
from tsnn_uq.fast.synapses.bits import find_active, find_active_packed, transposed

sizes = st.integers(1, 100)


def spikes(rows, inputs, share=0.3, seed=0):
    return (torch.rand(rows, inputs, generator=torch.Generator().manual_seed(seed)) < share).float()


def unpacked(words, rows, columns):
    """Bits [rows, columns] of words [ceil(columns / 32), rows], one by one; none is set behind the last column."""
    table = [[int(words[k // 32, row]) >> k % 32 & 1 for k in range(32 * len(words))] for row in range(rows)]
    assert not any(any(row[columns:]) for row in table)
    return torch.tensor([row[:columns] for row in table])


@given(sizes, sizes, st.sampled_from([0.0, 0.1, 0.9, 1.0]), st.integers(0, 9))
def test_bits_are_what_is_not_zero_both_ways(rows, inputs, share, seed):
    active = spikes(rows, inputs, share, seed)
    bits = find_active(1.25 * active)
    assert torch.equal(unpacked(bits.words, rows, inputs), active.long())
    assert torch.equal(unpacked(transposed(bits), inputs, rows), active.long().T)
    assert bits.share == pytest.approx(active.mean().item(), abs=1e-6)
    assert bits.value == (1.25 if active.any() else 1.0)
    packed = find_active_packed(pack_spikes(active), inputs)
    assert (packed.words == bits.words).all()
    assert (packed.value, packed.share) == (1.0, bits.share)


@pytest.mark.parametrize("size", [5, 32, 70])
def test_only_zeros_are_left_out(size):
    """However small, and what is no number is not zero; minus zero is."""
    values = torch.zeros(3, size)
    values[0, :4] = torch.tensor([float("nan"), -0.0, 1e-45, -2.0])
    values[2, -1] = float("inf")
    bits = find_active(values)
    assert torch.equal(unpacked(bits.words, 3, size), (values != 0).long())
    assert bits.value is None


@pytest.mark.parametrize("other", [1.0000001, -1.25, float("nan"), 1e-45])
@pytest.mark.parametrize("place", [(0, 0), (1, 31), (50, 64), (99, 69)])
def test_one_other_value_is_noticed(other, place):
    values = 1.25 * spikes(100, 70, 0.5)
    values[place] = other
    assert find_active(values).value is None


def test_a_value_that_is_no_number_is_no_common_one():
    assert find_active(torch.full((4, 40), float("nan"))).value is None
    assert find_active(torch.full((4, 40), float("inf"))).value == float("inf")


def test_threads_change_nothing():
    active = spikes(3000, 200)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        bits = find_active(active)
        results.append((bits.words.tobytes(), transposed(bits).tobytes(), bits.value, bits.share))
    torch.set_num_threads(1)
    assert results == [results[0]] * 3
