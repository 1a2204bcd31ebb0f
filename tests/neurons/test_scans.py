"""The compiled scans against the plain one, and which of them runs where."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.fast import compilers
from tsnn_uq.fast.scans import lif as kernels
from tsnn_uq.neurons import SURROGATES, LIFParameters, lif_reference, lif_scan, surrogate

every_neuron = [
    LIFParameters(0.75, 1.0, reset, detach, surrogate(name))
    for reset, detach, name in itertools.product(("soft", "hard"), (True, False), sorted(SURROGATES))
]


def case(shape, dtype, seed=0):
    """A current [T, ...] that lets neurons spike, and a gradient of their spikes."""
    generator = torch.Generator().manual_seed(seed)
    current = torch.randn(shape, generator=generator, dtype=torch.float64).add_(0.5)
    grad = torch.randn(shape, generator=generator, dtype=torch.float64)
    return current.to(dtype), grad.to(dtype)


def assert_twins(scan, current, grad, params, tolerance):
    """`scan` does what the plain one does, for a current over time and for one that is held."""
    steps = len(current)
    for held in (False, True):
        x = current[:1].contiguous() if held else current
        charged, spikes = lif_reference.forward(x, steps, params)
        ours, our_spikes = scan.forward(x, steps, params)
        torch.testing.assert_close(ours, charged, rtol=tolerance, atol=tolerance)
        assert torch.equal(scan.forward(x, steps, params, keep=False)[1], our_spikes)
        sure = (charged - params.threshold).abs() > 10 * tolerance
        assert torch.equal(our_spikes[sure], spikes[sure])
        for learns in (False, True):
            expected = lif_reference.backward(charged, grad, params, held and steps > 1, learns)
            got = scan.backward(charged, grad, params, held and steps > 1, learns)
            torch.testing.assert_close(got, expected, rtol=20 * tolerance, atol=20 * tolerance)


@pytest.mark.parametrize("params", every_neuron, ids=lambda p: f"{p.reset}-{p.detach_reset}-{p.surrogate.name}")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shape", [(1, 3), (7, 3, 5), (4, 2, 3, 45, 17)])
def test_compiled_and_plain_are_twins(params, dtype, tolerance, shape):
    assert_twins(kernels, *case(shape, dtype), params, tolerance)


@given(st.integers(1, 6), st.integers(1, 5000), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.1, 1.0, 3.0]))
def test_any_number_of_neurons_and_steps(steps, neurons, decay, threshold):
    params = LIFParameters(decay, threshold)
    assert_twins(kernels, *case((steps, neurons), torch.float64), params, 1e-13)


def test_threads_change_nothing():
    """Enough neurons for several parts."""
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        current, grad = case((3, 5, 9001), torch.float32)
        charged, spikes = kernels.forward(current, 3, LIFParameters())
        results.append((charged, spikes, *kernels.backward(charged, grad, LIFParameters(), False, learns=True)))
    torch.set_num_threads(1)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_a_transposed_current_is_read_in_its_order():
    current, _ = case((5, 4, 3), torch.float64)
    scanned = lif_scan(current.transpose(1, 2), LIFParameters())
    assert torch.equal(scanned, lif_scan(current, LIFParameters()).transpose(1, 2))


def test_where_numba_is_missing_the_plain_scan_runs(monkeypatch):
    current, _ = case((5, 4, 3), torch.float64)
    expected = lif_scan(current, LIFParameters())
    monkeypatch.setattr(compilers, "is_installed", lambda compiler: False)
    monkeypatch.setattr(kernels, "forward", None)
    assert torch.equal(lif_scan(current, LIFParameters()), expected)


def test_half_precision_runs_in_the_plain_scan():
    current, _ = case((5, 4, 3), torch.bfloat16)
    assert lif_scan(current, LIFParameters()).dtype == torch.bfloat16
