from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from tsnn_uq.checks import InputError
from tsnn_uq.coding import pack_spikes, unpack_spikes
from tsnn_uq.fast import compilers
from tsnn_uq.fast.synapses import linear, linear_of_bits, lookup_tables, sparse_sums

module = importlib.import_module("tsnn_uq.fast.synapses.linear")  # the package's name for it is the function


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
    for limit in ("MIN_PRODUCTS", "MIN_ROWS", "MIN_ROWS_LISTED"):
        monkeypatch.setattr(module, limit, 0)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("values", [False, True], ids=["spikes", "values"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.07, 0.2, 0.6])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (70, 10), (33, 64), (50, 129)])
def test_sums_and_gradients_are_those_of_the_dense_product(share, inputs, outputs, values):
    spikes, weight, grad = case(90, inputs, outputs, share, values=values)
    if not values:
        spikes = 1.25 * spikes  # as dropout leaves them
    dense = gradients(functional.linear, spikes, weight, grad)
    for ours, expected in zip(gradients(linear, spikes, weight, grad), dense, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("any_size")
def test_axes_before_the_last_stay_and_a_bias_is_added():
    spikes, weight, _ = case(60, 30, 20, 0.1)
    bias = torch.arange(20.0)
    sums = linear(spikes.reshape(3, 4, 5, 30), weight, bias)
    torch.testing.assert_close(sums, functional.linear(spikes, weight, bias).reshape(3, 4, 5, 20))


@pytest.mark.parametrize(
    ("share", "dtype", "numba"),
    [(0.1, torch.float64, True), (0.9, torch.float32, True), (0.1, torch.float32, False)],
    ids=["double precision", "many values", "no numba"],
)
@pytest.mark.usefixtures("any_size")
def test_elsewhere_it_is_the_dense_product(share, dtype, numba, monkeypatch):
    monkeypatch.setattr(compilers, "is_installed", lambda compiler: numba)
    spikes, weight, _ = (tensor.to(dtype) for tensor in case(60, 30, 20, share, values=True))
    assert torch.equal(linear(spikes, weight), functional.linear(spikes, weight))


@pytest.mark.usefixtures("any_size")
def test_a_transposed_input_is_read_in_its_order():
    spikes, weight, _ = case(40, 30, 20, 0.1)
    torch.testing.assert_close(linear(spikes.T.contiguous().T, weight), functional.linear(spikes, weight))


def with_junk(spikes):
    """Packed spikes, with all bits set that are no inputs."""
    packed = pack_spikes(spikes)
    if spikes.shape[-1] % 8:
        packed[..., -1] |= (0xFF << spikes.shape[-1] % 8) & 0xFF
    return packed


@pytest.mark.usefixtures("any_size")
@given(
    st.integers(1, 70),
    st.sampled_from([1, 7, 8, 9, 31, 32, 33, 70]),
    st.sampled_from([1, 10, 65]),
    st.sampled_from([0.0, 0.03, 0.15, 0.6]),
    st.integers(0, 9),
)
def test_sums_of_bits_are_those_of_the_spikes(rows, inputs, outputs, share, seed):
    """Small whole numbers, so that sums are exact in any order; below, between and above the shares that are listed."""
    spikes, weight, grad = case(rows, inputs, outputs, share, seed)
    grad = grad.round()
    weight = weight.round().requires_grad_()
    packed = with_junk(spikes)
    before = packed.clone()
    sums = linear_of_bits(packed, weight)
    expected = functional.linear(unpack_spikes(packed, inputs), weight)
    assert torch.equal(sums, expected)
    (ours,), (theirs,) = (torch.autograd.grad(result, weight, grad) for result in (sums, expected))
    assert torch.equal(ours, theirs)
    assert torch.equal(packed, before)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("share", [0.03, 0.07, 0.6])
def test_bits_are_never_unpacked(share, monkeypatch):
    spikes, weight, grad = case(90, 70, 10, share)
    expected = gradients(functional.linear, spikes, weight, grad)
    monkeypatch.setattr(module, "unpack_spikes", None)
    weight.requires_grad_()
    sums = linear_of_bits(pack_spikes(spikes), weight)
    sums.backward(grad)
    torch.testing.assert_close(sums, expected[0])
    torch.testing.assert_close(weight.grad, expected[2])


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("share", [0.03, 0.6])
def test_spikes_are_kept_for_the_gradient_as_bits_alone(share):
    spikes, weight, _ = case(90, 70, 10, share)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.shape), lambda saved: saved):
        linear(spikes, weight.requires_grad_())
    assert kept == [weight.shape]


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("any_size")
def test_axes_and_biases_of_bits_with_numba_and_without(numba, dtype, monkeypatch):
    monkeypatch.setattr(compilers, "is_installed", lambda compiler: numba)
    spikes, weight, _ = (tensor.to(dtype) for tensor in case(60, 30, 20, 0.1))
    bias = torch.arange(20, dtype=dtype)
    packed = pack_spikes(spikes)
    expected = functional.linear(spikes, weight, bias)
    torch.testing.assert_close(linear_of_bits(packed.reshape(3, 4, 5, 4), weight, bias), expected.reshape(3, 4, 5, 20))
    torch.testing.assert_close(linear_of_bits(packed.T.contiguous().T, weight, bias), expected)


@pytest.mark.parametrize(
    "packed",
    [torch.zeros(3, 4), torch.zeros(3, 3, dtype=torch.uint8), torch.zeros(3, 5, dtype=torch.uint8), torch.tensor(0)],
)
def test_bits_that_do_not_fit_are_refused(packed):
    with pytest.raises(InputError, match=r"packed: expected uint8 of shape \[..., 4\]"):
        linear_of_bits(packed, torch.zeros(2, 30))


@pytest.mark.parametrize(("rows", "way"), [(63, None), (64, lookup_tables), (511, lookup_tables), (512, sparse_sums)])
def test_tables_and_lists_are_made_only_for_enough_rows(rows, way, monkeypatch):
    monkeypatch.setattr(module, "MIN_PRODUCTS", 0)
    taken = []
    for owner, name in ((lookup_tables, "multiply_bits"), (sparse_sums, "add_rows")):
        plain = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, owner=owner, plain=plain: taken.append(owner) or plain(*args))
    spikes, weight, _ = case(rows, 40, 20, 0.04)
    torch.testing.assert_close(linear(spikes, weight), functional.linear(spikes, weight), rtol=1e-5, atol=1e-5)
    assert taken == ([way] if way else [])
