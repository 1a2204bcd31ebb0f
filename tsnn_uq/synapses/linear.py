"""A linear layer of inputs that are mostly zero, as spikes are: only active inputs cost anything.

Forward, the rows of the active inputs alone are added up: at a density of 13 to 18 % that takes about 60 % of the time
of a dense product (784 or 500 to 500, 2,560 rows, two threads), the lists included. For the gradient of the weights it
pays below 8 % only, since there each addition goes to memory; the gradient of the inputs is dense. Elsewhere this is
`torch.nn.functional.linear`, which is also what the tests hold it to.

Events are rarer still (0.6 % of N-MNIST at steps of 1 ms), and to write and read the zeros between them would cost more
than the sums. Hence `linear_of_bits`, which lists them from one bit an input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tsnn_uq import compilers
from tsnn_uq.checks import InputError, describe
from tsnn_uq.coding import unpack_spikes

__all__ = ["linear", "linear_of_bits"]

MOST_ACTIVE = 0.25  # share of the inputs up to which it pays forward
MOST_ACTIVE_BACKWARD = 0.08
LEAST_WORK = 2**26  # multiplications of a dense product; a smaller one is not worth the lists


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Weighted sums of inputs [..., in], as `torch.nn.functional.linear` has it, sparse where that is faster.

    Args:
        inputs: spikes, or any values, [..., in].
        weight: [out, in].
        bias: [out].

    Returns:
        [..., out].
    """
    rows = inputs.numel() // max(inputs.shape[-1], 1)
    if inputs.dtype == weight.dtype and _may_be_sparse(inputs, rows, weight):
        from tsnn_uq.synapses.kernels import list_active  # late, since numba is slow to import

        active = list_active(inputs.detach().reshape(rows, -1), MOST_ACTIVE)
        if active is not None:
            sums = _SparseLinear.apply(inputs, weight, active)
            return sums if bias is None else sums + bias
    return functional.linear(inputs, weight, bias)


def linear_of_bits(packed: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`linear` of spikes as `tsnn_uq.coding.pack_spikes` packs them, which are not unpacked where few are active.

    Args:
        packed: uint8 [..., ceil(in / 8)].
        weight: [out, in].
        bias: [out].

    Returns:
        [..., out], in the dtype of `weight`.

    Raises:
        InputError: `packed` is not uint8, or its last axis does not fit the weights.

    Example:
        >>> linear_of_bits(torch.tensor([[0b101]], dtype=torch.uint8), torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[4.]])
    """
    inputs = weight.shape[1]
    width = -(-inputs // 8)
    if packed.dtype != torch.uint8 or not packed.dim() or packed.shape[-1] != width:
        raise InputError(f"packed: expected uint8 of shape [..., {width}]; got {describe(packed)}")
    rows = packed.numel() // max(width, 1)
    if _may_be_sparse(packed, rows, weight):
        from tsnn_uq.synapses.kernels import list_packed

        active = list_packed(packed.reshape(rows, width), inputs, MOST_ACTIVE)
        if active is not None:
            sums = _SparseLinear.apply(packed, weight, active)
            return sums if bias is None else sums + bias
    return functional.linear(unpack_spikes(packed, inputs, weight.dtype), weight, bias)


def _may_be_sparse(inputs: Tensor, rows: int, weight: Tensor) -> bool:
    there = inputs.device.type == "cpu" and weight.dtype == torch.float32 and compilers.is_installed("numba")
    return there and rows * weight.numel() >= LEAST_WORK


class _SparseLinear(torch.autograd.Function):
    """Sums over listed inputs, which are floats or bits."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, active: Any) -> Tensor:
        from tsnn_uq.synapses.kernels import add_rows

        ctx.active = active if active.share <= MOST_ACTIVE_BACKWARD else None
        ctx.save_for_backward(weight, None if ctx.active else inputs)
        return add_rows(active, weight).reshape(*inputs.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        from tsnn_uq.synapses.kernels import add_outer

        weight, inputs = ctx.saved_tensors
        grad_inputs = grads[0] @ weight if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return grad_inputs, None, None
        grad = grads[0].reshape(-1, len(weight)).contiguous()
        if ctx.active:
            return grad_inputs, add_outer(ctx.active, grad, weight.shape[1]), None
        if inputs.dtype == torch.uint8:
            inputs = unpack_spikes(inputs, weight.shape[1], weight.dtype)
        return grad_inputs, grad.T @ inputs.reshape(len(grad), -1), None
