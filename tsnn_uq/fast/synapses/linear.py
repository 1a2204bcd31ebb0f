"""A linear layer of inputs that are mostly zero, or all of one value but zeros, as spikes are.

Inputs that are 0 or one value need no multiplications: sums of four weights each are tabulated and looked up (in
`tables`), which takes about a third of the time of a dense product forward, and for the gradient of the weights,
however many inputs are active. Where few are, their rows alone are added up (in `lists`), also where values differ.
The gradient of the inputs is dense. Elsewhere this is `torch.nn.functional.linear`, which is also what the tests hold
it to.

Events are rarer still (0.6 % of N-MNIST at steps of 1 ms), and to write and read the zeros between them would cost more
than the sums. Hence `linear_of_bits`, which takes one bit an input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tsnn_uq.checks import InputError, describe
from tsnn_uq.coding import unpack_spikes
from tsnn_uq.fast.compilers import compiler_for

__all__ = ["linear", "linear_of_bits"]

MOST_LISTED = 0.08  # share of spikes up to which lists are faster than tables forward
MOST_LISTED_BACKWARD = 0.05
MOST_DIFFERING = 0.25  # share of inputs of differing values up to which lists are faster than a dense product
LEAST_WORK = 2**24  # multiplications of a dense product; a smaller one is not worth the look
LEAST_ROWS = 64  # which a table has to serve, to be worth writing
LEAST_ROWS_LISTED = 512  # for lists, which want the weights transposed


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
    if inputs.dtype == weight.dtype and _may_pay(inputs, rows, weight):
        from tsnn_uq.fast.synapses.bits import mark  # late, since numba is slow to import

        bits = mark(inputs.detach().reshape(rows, -1))
        if bits.value is not None or _are_rare(bits, MOST_DIFFERING):
            sums = _BitLinear.apply(inputs, weight, bits)
            return sums if bias is None else sums + bias
    return functional.linear(inputs, weight, bias)


def linear_of_bits(packed: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`linear` of spikes as `tsnn_uq.coding.pack_spikes` packs them, which are not unpacked.

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
    if _may_pay(packed, rows, weight):
        from tsnn_uq.fast.synapses.bits import mark_packed

        sums = _BitLinear.apply(packed, weight, mark_packed(packed.reshape(rows, width), inputs))
        return sums if bias is None else sums + bias
    return functional.linear(unpack_spikes(packed, inputs, weight.dtype), weight, bias)


def _may_pay(inputs: Tensor, rows: int, weight: Tensor) -> bool:
    there = weight.dtype == torch.float32 and compiler_for(inputs.device) == "numba"
    return there and rows >= LEAST_ROWS and rows * weight.numel() >= LEAST_WORK


def _are_rare(bits: Any, most: float) -> bool:
    """Whether lists are the faster way up to the share `most` of active inputs."""
    return bits.share <= most and bits.words.shape[1] >= LEAST_ROWS_LISTED


class _BitLinear(torch.autograd.Function):
    """Weighted sums of inputs by their bits; the inputs themselves are kept only where they differ and are many."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bits: Any) -> Tensor:
        from tsnn_uq.fast.synapses.sparse_sums import add_rows, list_active

        listed = bits.value is None or _are_rare(bits, MOST_LISTED)
        active = list_active(bits, inputs.reshape(bits.words.shape[1], -1)) if listed else None
        sums = add_rows(active, weight) if active else _look_up(bits, weight)
        rare = _are_rare(bits, MOST_LISTED_BACKWARD)
        ctx.bits, ctx.active = bits, active if rare else None
        ctx.save_for_backward(weight, inputs if bits.value is None and not rare else None)
        return sums.reshape(*inputs.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, inputs = ctx.saved_tensors
        grad_inputs = grads[0] @ weight if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return grad_inputs, None, None
        grad = grads[0].reshape(-1, len(weight)).contiguous()
        if inputs is not None:
            return grad_inputs, grad.T @ inputs.reshape(len(grad), -1), None
        return grad_inputs, _grad_of_weights(ctx.bits, ctx.active, grad), None


def _look_up(bits: Any, weight: Tensor) -> Tensor:
    """Sums [M, out] of weights over set bits."""
    from tsnn_uq.fast.synapses.lookup_tables import multiply_bits

    sums = weight.new_empty(bits.words.shape[1], len(weight))
    multiply_bits(bits.words, weight.detach().contiguous().numpy().T, bits.value, sums.numpy())
    return sums


def _grad_of_weights(bits: Any, active: Any, grad: Tensor) -> Tensor:
    """The sum [out, in] over rows of grad [M, out] times the inputs."""
    from tsnn_uq.fast.synapses.bits import transposed
    from tsnn_uq.fast.synapses.lookup_tables import multiply_bits
    from tsnn_uq.fast.synapses.sparse_sums import add_outer

    if active is not None:
        return add_outer(active, grad, bits.inputs)
    result = grad.new_empty(grad.shape[1], bits.inputs)
    multiply_bits(transposed(bits), grad.numpy(), bits.value, result.numpy().T)
    return result
