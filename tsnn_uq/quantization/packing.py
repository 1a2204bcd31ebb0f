"""Pack ternary codes into two bits each, four to a byte.

The codes of a tensor are packed in row-major order, the first one in the lowest bits (little-endian):

    bit      7 6   5 4   3 2   1 0
    byte 0   c[3]  c[2]  c[1]  c[0]
    byte 1   c[7]  c[6]  c[5]  c[4]      and so on; bits after the last code are zero

A code is its two's complement in two bits:

    code    0    +1    -1    none
    bits   00    01    11     10

The low bit means "not zero" and the high bit "negative": the ones of ``byte & 0b01010101`` count the weights that
cost an addition, and sign extension recovers the integer. Four zeros are the zero byte, so sparse layers compress well
and padding needs no special value. The pattern 10 is never written: it, or a padding bit that is set, raises an error,
since the file must be damaged.

Base 3 would fit five codes into a byte (1.6 bits a code), but needs divisions to unpack, and codes would not have fixed
bit positions. The cost model also counts two bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from tsnn_uq.checks import InputError, describe
from tsnn_uq.quantization.channels import outputs_first

__all__ = ["pack", "packed_bytes", "unpack", "unpack_weight"]

_CODES_PER_BYTE = 4


def packed_bytes(count: int) -> int:
    """Number of bytes that `count` packed codes take: ceil(count / 4).

    Example:
        >>> [packed_bytes(count) for count in (0, 1, 4, 5)]
        [0, 1, 1, 2]
    """
    return -(-count // _CODES_PER_BYTE)


def pack(codes: Tensor) -> Tensor:
    """Pack ternary codes, two bits each.

    Args:
        codes: int8 tensor of any shape, values -1, 0 and +1; n of them.

    Returns:
        uint8 tensor [ceil(n / 4)] on the device of `codes`, in the layout above.

    Raises:
        InputError: `codes` is not int8 or holds another value.

    Example:
        >>> packed = pack(torch.tensor([[1, 0, -1], [-1, 1, 0]], dtype=torch.int8))
        >>> [f"{byte:08b}" for byte in packed.tolist()]
        ['11110001', '00000001']
    """
    if codes.dtype != torch.int8:
        raise InputError(f"codes: expected an int8 tensor of -1, 0 and 1; got {describe(codes)}")
    flat = codes.reshape(-1)
    if flat.numel() and not -1 <= flat.amin() <= flat.amax() <= 1:
        raise InputError(f"codes: expected only -1, 0 and 1; got values from {int(flat.amin())} to {int(flat.amax())}")
    two_bits = (pad(flat, (0, -len(flat) % _CODES_PER_BYTE)) & 0b11).to(torch.uint8)
    first, second, third, fourth = two_bits.view(-1, _CODES_PER_BYTE).unbind(1)
    return first | second << 2 | third << 4 | fourth << 6


def unpack(packed: Tensor, shape: Sequence[int]) -> Tensor:
    """Unpack the codes that `pack` packed.

    Args:
        packed: uint8 tensor [ceil(n / 4)].
        shape: shape of the codes, n elements in all.

    Returns:
        int8 tensor of `shape` with values -1, 0 and +1, on the device of `packed`.

    Raises:
        InputError: `packed` is not a uint8 vector, its length does not fit `shape`, or its bits are damaged.

    Example:
        >>> unpack(torch.tensor([0b11110001, 0b00000001], dtype=torch.uint8), (2, 3))
        tensor([[ 1,  0, -1],
                [-1,  1,  0]], dtype=torch.int8)
    """
    if any(size < 0 for size in shape):
        raise InputError(f"shape: expected sizes of at least 0; got {list(shape)}")
    count = math.prod(shape)
    if packed.dtype != torch.uint8 or packed.dim() != 1 or len(packed) != packed_bytes(count):
        wanted = f"a uint8 tensor of shape [{packed_bytes(count)}] for codes of shape {list(shape)}"
        raise InputError(f"packed: expected {wanted}; got {describe(packed)}")
    offsets = torch.arange(0, 8, 2, dtype=torch.uint8, device=packed.device)
    two_bits = (packed.unsqueeze(1) >> offsets & 0b11).to(torch.int8)
    codes = (two_bits ^ 0b10) - 0b10  # sign extension; the unused pattern becomes -2
    unused = (codes == -2).any(1)
    if unused.any():
        place = int(unused.int().argmax())
        raise InputError(f"packed: expected the bits 00, 01 and 11; got 10 in byte {place}; the data are damaged")
    flat = codes.reshape(-1)
    if flat[count:].any():
        raise InputError("packed: expected zeros after the last code; got set padding bits; the data are damaged")
    return flat[:count].reshape(tuple(shape))


def unpack_weight(packed: Tensor, shape: Sequence[int], scale: Tensor, groups: int = 0) -> Tensor:
    """The weight scale * code of packed codes, bit for bit the original; errors as for `unpack`.

    Args:
        packed: as for `unpack`.
        shape: shape of the codes, output channels first.
        scale: one, or one for each output channel, broadcastable to the codes.
        groups: groups of a transposed convolution; 0 for any other layer.
    """
    weight = unpack(packed, shape).to(scale.dtype) * scale
    if groups and (len(shape) < 2 or shape[0] % groups):
        raise InputError(f"shape: expected output channels in {groups} groups; got {list(shape)}")
    return outputs_first(weight, groups).contiguous()
