"""A linear layer for spikes and other sparse inputs.

If all active inputs have one value, as spikes do, nothing has to be multiplied: sums of four weights each are looked up
in tables (`lookup_tables`). This takes about a third of the time of a dense product, forward and for the gradient of
the weights, for any share of active inputs. If few inputs are active, their rows of weights are summed directly
(`sparse_sums`), also for differing values. The gradient of the inputs is a dense product. In all other cases the layer
is `torch.nn.functional.linear`, with which the tests compare it.

Event data are sparser still (0.6 % of N-MNIST at steps of 1 ms): reading and writing the zeros would take longer than
the sums. `linear_of_bits` therefore takes one bit per input.
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

MAX_LIST_SHARE = 0.08  # share of spikes up to which lists are faster than tables in the forward pass
MAX_LIST_SHARE_BACKWARD = 0.05  # and in the backward pass
MAX_LIST_SHARE_VALUES = 0.25  # share of inputs of differing values up to which lists are faster than a dense product
MIN_PRODUCTS = 2**24  # multiplications of a dense product below which it is not worth looking for active inputs
MIN_ROWS = 64  # rows below which tables are not worth computing
MIN_ROWS_LISTED = 512  # rows below which lists are not worth transposing the weights


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear layer as `torch.nn.functional.linear` does, with sparse sums if they are faster.

    Args:
        inputs: spikes or any values [..., in].
        weight: [out, in].
        bias: [out].

    Returns:
        [..., out].
    """
    rows = inputs.numel() // max(inputs.shape[-1], 1)
    if inputs.dtype == weight.dtype and _is_worthwhile(inputs, rows, weight):
        from tsnn_uq.fast.synapses.bits import find_active  # late, since numba is slow to import

        bits = find_active(inputs.detach().reshape(rows, -1))
        if bits.value is not None or _lists_are_faster(bits, MAX_LIST_SHARE_VALUES):
            sums = _BitLinear.apply(inputs, weight, bits)
            return sums if bias is None else sums + bias
    return functional.linear(inputs, weight, bias)


def linear_of_bits(packed: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear layer to spikes packed by `tsnn_uq.coding.pack_spikes`, without unpacking them.

    Args:
        packed: uint8 [..., ceil(in / 8)].
        weight: [out, in].
        bias: [out].

    Returns:
        [..., out], in the dtype of `weight`.

    Raises:
        InputError: `packed` is not uint8, or its last axis does not match the weights.

    Example:
        >>> linear_of_bits(torch.tensor([[0b101]], dtype=torch.uint8), torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[4.]])
    """
    inputs = weight.shape[1]
    width = -(-inputs // 8)
    if packed.dtype != torch.uint8 or not packed.dim() or packed.shape[-1] != width:
        raise InputError(f"packed: expected uint8 of shape [..., {width}]; got {describe(packed)}")
    rows = packed.numel() // max(width, 1)
    if _is_worthwhile(packed, rows, weight):
        from tsnn_uq.fast.synapses.bits import find_active_packed

        sums = _BitLinear.apply(packed, weight, find_active_packed(packed.reshape(rows, width), inputs))
        return sums if bias is None else sums + bias
    return functional.linear(unpack_spikes(packed, inputs, weight.dtype), weight, bias)


def _is_worthwhile(inputs: Tensor, rows: int, weight: Tensor) -> bool:
    supported = weight.dtype == torch.float32 and compiler_for(inputs.device) == "numba"
    return supported and rows >= MIN_ROWS and rows * weight.numel() >= MIN_PRODUCTS


def _lists_are_faster(bits: Any, most: float) -> bool:
    """Whether lists are faster, if they are up to a share `most` of active inputs."""
    return bits.share <= most and bits.words.shape[1] >= MIN_ROWS_LISTED


class _BitLinear(torch.autograd.Function):
    """Weighted sums of the active inputs. The inputs are saved only if their values differ and many are active."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bits: Any) -> Tensor:
        from tsnn_uq.fast.synapses.sparse_sums import add_rows, list_active

        listed = bits.value is None or _lists_are_faster(bits, MAX_LIST_SHARE)
        active = list_active(bits, inputs.reshape(bits.words.shape[1], -1)) if listed else None
        sums = add_rows(active, weight) if active else _look_up(bits, weight)
        rare = _lists_are_faster(bits, MAX_LIST_SHARE_BACKWARD)
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
    """Sum the weights over set bits: [M, out]."""
    from tsnn_uq.fast.synapses.lookup_tables import multiply_bits

    sums = weight.new_empty(bits.words.shape[1], len(weight))
    multiply_bits(bits.words, weight.detach().contiguous().numpy().T, bits.value, sums.numpy())
    return sums


def _grad_of_weights(bits: Any, active: Any, grad: Tensor) -> Tensor:
    """Sum the products of grad [M, out] and inputs [M, in] over rows: [out, in]."""
    from tsnn_uq.fast.synapses.bits import transposed
    from tsnn_uq.fast.synapses.lookup_tables import multiply_bits
    from tsnn_uq.fast.synapses.sparse_sums import add_outer

    if active is not None:
        return add_outer(active, grad, bits.inputs)
    result = grad.new_empty(grad.shape[1], bits.inputs)
    multiply_bits(transposed(bits), grad.numpy(), bits.value, result.numpy().T)
    return result
