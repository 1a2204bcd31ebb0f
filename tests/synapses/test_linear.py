from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tsnn_uq.synapses import kernels, linear

module = importlib.import_module("tsnn_uq.synapses.linear")  # the package's name for it is the function


def case(rows, inputs, outputs, share, seed=0, values=False):
    """Spikes (or values) of which a share is active, weights, and a gradient of the sums."""
    generator = torch.Generator().manual_seed(seed)
    active = torch.rand(rows, inputs, generator=generator) < share
    spikes = active * (torch.randn(rows, inputs, generator=generator) if values else torch.ones(rows, inputs))
    weight = torch.randn(outputs, inputs, generator=generator)
    return spikes, weight, torch.randn(rows, outputs, generator=generator)


def gradients(function, spikes, weight, grad):
    leaves = [spikes.clone().requires_grad_(), weight.clone().requires_grad_()]
    sums = function(*leaves)
    return [sums.detach(), *torch.autograd.grad(sums, leaves, grad)]


@pytest.fixture
def any_size(monkeypatch):
    """Take the sparse way however small the product is."""
    monkeypatch.setattr(module, "LEAST_WORK", 0)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (70, 10), (33, 64), (50, 129)])
def test_sums_and_gradients_are_those_of_the_dense_product(share, inputs, outputs):
    spikes, weight, grad = case(90, inputs, outputs, share, values=True)
    dense = gradients(functional.linear, spikes, weight, grad)
    for ours, expected in zip(gradients(linear, spikes, weight, grad), dense, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)


@settings(max_examples=30)
@given(st.integers(1, 200), st.integers(1, 90), st.integers(1, 140), st.floats(0, 1), st.integers(0, 9))
def test_kernels_add_up_what_is_active(rows, inputs, outputs, share, seed):
    """Small whole numbers, so that sums are exact in any order."""
    spikes, weight, grad = case(rows, inputs, outputs, share, seed)
    weight, grad = weight.round(), grad.round()
    active = kernels.list_active(spikes, most=1.0)
    assert active.share == pytest.approx(float(spikes.mean()), abs=1e-6)
    assert torch.equal(kernels.add_rows(active, weight), spikes @ weight.T)
    assert torch.equal(kernels.add_outer(active, grad, inputs), grad.T @ spikes)


def test_too_many_active_inputs_are_not_listed():
    spikes, *_ = case(100, 50, 10, 0.5)
    assert kernels.list_active(spikes, most=0.25) is None


def test_threads_change_nothing():
    spikes, weight, grad = case(3000, 200, 150, 0.05)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        active = kernels.list_active(spikes, most=1.0)
        results.append((kernels.add_rows(active, weight), kernels.add_outer(active, grad, 200)))
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.usefixtures("any_size")
def test_axes_before_the_last_stay_and_a_bias_is_added():
    spikes, weight, _ = case(60, 30, 20, 0.1)
    bias = torch.arange(20.0)
    sums = linear(spikes.reshape(3, 4, 5, 30), weight, bias)
    torch.testing.assert_close(sums, functional.linear(spikes, weight, bias).reshape(3, 4, 5, 20))


@pytest.mark.parametrize(
    ("share", "dtype", "numba"),
    [(0.1, torch.float64, True), (0.9, torch.float32, True), (0.1, torch.float32, False)],
    ids=["double precision", "dense input", "no numba"],
)
@pytest.mark.usefixtures("any_size")
def test_elsewhere_it_is_the_dense_product(share, dtype, numba, monkeypatch):
    monkeypatch.setattr(module, "_numba_is_there", lambda: numba)
    spikes, weight, _ = (tensor.to(dtype) for tensor in case(60, 30, 20, share))
    assert torch.equal(linear(spikes, weight), functional.linear(spikes, weight))


@pytest.mark.usefixtures("any_size")
def test_a_transposed_input_is_read_in_its_order():
    spikes, weight, _ = case(40, 30, 20, 0.1)
    torch.testing.assert_close(linear(spikes.T.contiguous().T, weight), functional.linear(spikes, weight))
