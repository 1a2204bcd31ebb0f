"""Both ways to add up weights by bits, against dense products of whole numbers, which are exact in any order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.fast.synapses.bits import find_active, transposed
from tsnn_uq.fast.synapses.lookup_tables import multiply_bits
from tsnn_uq.fast.synapses.sparse_sums import add_outer, add_rows, list_active

BY_ROWS, BY_COLUMNS = (lambda tensor: tensor.contiguous()), (lambda tensor: tensor.T.contiguous().T)


def case(rows, inputs, outputs, share, seed):
    """Inputs, weights and a gradient of the sums."""
    generator = torch.Generator().manual_seed(seed)
    active = torch.rand(rows, inputs, generator=generator) < share
    values = torch.randint(1, 4, (rows, inputs), generator=generator)
    weight, grad = (
        torch.randint(-9, 10, shape, generator=generator).float() for shape in ((outputs, inputs), (rows, outputs))
    )
    return active * values.float(), weight, grad


@given(st.integers(1, 200), st.integers(1, 90), st.integers(1, 140), st.floats(0, 1), st.integers(0, 9))
def test_lists_add_up_what_is_active(rows, inputs, outputs, share, seed):
    values, weight, grad = case(rows, inputs, outputs, share, seed)
    for given_values in (values, 2 * (values != 0).float()):
        active = list_active(find_active(given_values), given_values)
        assert torch.equal(add_rows(active, weight), given_values @ weight.T)
        assert torch.equal(add_outer(active, grad, inputs), grad.T @ given_values)


@pytest.mark.parametrize("size", [5, 32, 70])
def test_only_zeros_are_not_listed(size):
    """However small, and what is no number is not zero; minus zero is."""
    values = torch.zeros(3, size)
    values[0, :4] = torch.tensor([float("nan"), -0.0, 1e-45, -2.0])
    values[2, -1] = float("inf")
    active = list_active(find_active(values), values)
    assert active.starts.tolist() == [0, 3, 3, 4]
    assert active.places.tolist() == [0, 2, 3, size - 1]
    torch.testing.assert_close(
        torch.from_numpy(active.values), torch.tensor([float("nan"), 1e-45, -2, float("inf")]), equal_nan=True
    )


@given(
    st.integers(1, 150),
    st.integers(1, 90),
    st.integers(1, 140),
    st.floats(0, 1),
    st.integers(0, 9),
    st.sampled_from([BY_ROWS, BY_COLUMNS]),
    st.sampled_from([BY_ROWS, BY_COLUMNS]),
)
def test_tables_add_up_what_is_active(rows, inputs, outputs, share, seed, of_weights, of_sums):
    values, weight, grad = case(rows, inputs, outputs, share, seed)
    spikes = 2 * (values != 0).float()
    bits = find_active(spikes)
    factor = 2.0  # also where none is active
    sums, gradient = of_sums(torch.full((rows, outputs), 7.0)), of_sums(torch.full((inputs, outputs), 7.0))
    multiply_bits(bits.words, of_weights(weight.T).numpy(), factor, sums.numpy())
    multiply_bits(transposed(bits), of_weights(grad).numpy(), factor, gradient.numpy())
    assert torch.equal(sums, spikes @ weight.T)
    assert torch.equal(gradient, spikes.T @ grad)


def test_sums_are_as_exact_as_those_of_a_dense_product(generator):
    spikes = (torch.rand(500, 700, generator=generator) < 0.4).float()
    weight = torch.randn(90, 700, generator=generator)
    exact = spikes.double() @ weight.double().T
    sums = torch.empty(500, 90)
    multiply_bits(find_active(spikes).words, weight.numpy().T, 1.0, sums.numpy())
    assert (sums - exact).abs().max() <= 2 * (spikes @ weight.T - exact).abs().max()


def test_what_is_no_number_stays_in_its_output():
    """A weight that is not finite is met by the rows whose bit is set, and by no other."""
    spikes = torch.eye(40)
    weight = torch.zeros(3, 40)
    weight[1, 7] = float("inf")
    sums = torch.empty(40, 3)
    multiply_bits(find_active(spikes).words, weight.numpy().T, 1.0, sums.numpy())
    assert torch.equal(sums, weight.T)


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_threads_change_nothing(share):
    generator = torch.Generator().manual_seed(0)
    spikes = (torch.rand(3000, 200, generator=generator) < share).float()
    weight, grad = torch.randn(150, 200, generator=generator), torch.randn(3000, 150, generator=generator)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        bits = find_active(spikes)
        active, sums, gradient = list_active(bits), torch.empty(3000, 150), torch.empty(200, 150)
        multiply_bits(bits.words, weight.numpy().T, 1.0, sums.numpy())
        multiply_bits(transposed(bits), grad.numpy(), 1.0, gradient.numpy())
        results.append((sums, gradient, add_rows(active, weight), add_outer(active, grad, 200)))
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
