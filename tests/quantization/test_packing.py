from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.quantization.packing import pack, packed_bytes, unpack

BITS = {0: "00", 1: "01", -1: "11"}  # the table in the head of packing.py


def int8(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int8)


def bytes_by_hand(codes: list[int]) -> list[int]:
    """Write the bits as text: four codes a byte, the first code rightmost, zeros in front of the last."""
    groups = [codes[start : start + 4] for start in range(0, len(codes), 4)]
    return [int("".join(BITS[code] for code in reversed(group)), 2) for group in groups]


def test_all_patterns_of_four_codes_have_a_byte_of_their_own() -> None:
    patterns = list(itertools.product((-1, 0, 1), repeat=4))
    packed = [pack(int8(list(pattern))) for pattern in patterns]
    assert [byte.tolist() for byte in packed] == [bytes_by_hand(list(pattern)) for pattern in patterns]
    assert len({byte.item() for byte in packed}) == 81
    assert [tuple(unpack(byte, (4,)).tolist()) for byte in packed] == patterns


@pytest.mark.parametrize("length", range(34))
def test_every_length_round_trips_and_fits_the_bytes_by_hand(length: int) -> None:
    codes = [(7 * place * place + place) % 3 - 1 for place in range(length)]
    packed = pack(int8(codes))
    assert packed.dtype == torch.uint8
    assert packed.tolist() == bytes_by_hand(codes)
    assert len(packed) == packed_bytes(length) == math.ceil(length / 4)
    assert torch.equal(unpack(packed, (length,)), int8(codes))


@st.composite
def code_tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    count = math.prod(shape)
    return int8(draw(st.lists(st.integers(-1, 1), min_size=count, max_size=count))).reshape(shape)


@given(code_tensors())
def test_any_shape_round_trips(codes: Tensor) -> None:
    restored = unpack(pack(codes), codes.shape)
    assert restored.dtype == torch.int8
    assert torch.equal(restored, codes)


@given(code_tensors())
def test_low_bits_count_the_nonzero_codes(codes: Tensor) -> None:
    ones = sum((byte & 0b01010101).bit_count() for byte in pack(codes).tolist())
    assert ones == int(codes.count_nonzero())


def test_codes_are_taken_in_row_major_order_whatever_the_strides() -> None:
    codes = int8([1, 0, -1, -1, 1, 0]).reshape(2, 3).T
    assert torch.equal(pack(codes), pack(codes.contiguous()))
    assert torch.equal(unpack(pack(codes), (3, 2)), codes)


@pytest.mark.parametrize("value", [2, -2, 127, -128])
def test_pack_refuses_other_values(value: int) -> None:
    with pytest.raises(InputError, match="codes: expected only -1, 0 and 1"):
        pack(int8([0, value, 1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64, torch.bool])
def test_pack_refuses_other_dtypes(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match="codes: expected an int8 tensor"):
        pack(torch.zeros(4, dtype=dtype))


@pytest.mark.parametrize(
    "packed",
    [
        torch.zeros(2, dtype=torch.uint8),
        torch.zeros(4, dtype=torch.uint8),
        torch.zeros(3, dtype=torch.int8),
        torch.zeros(3, 1, dtype=torch.uint8),
    ],
)
def test_unpack_refuses_what_does_not_fit_the_shape(packed: Tensor) -> None:
    with pytest.raises(InputError, match=r"packed: expected a uint8 tensor of shape \[3\] for codes of shape \[3, 3\]"):
        unpack(packed, (3, 3))


def test_unpack_refuses_a_negative_size() -> None:
    with pytest.raises(InputError, match="shape: expected sizes of at least 0"):
        unpack(torch.zeros(1, dtype=torch.uint8), (-1, -4))


@pytest.mark.parametrize("place", range(8))
def test_unpack_refuses_the_unused_pattern_anywhere(place: int) -> None:
    packed = pack(int8([0] * 8))
    packed[place // 4] |= 0b10 << 2 * (place % 4)
    with pytest.raises(InputError, match=f"packed: expected the bits 00, 01 and 11; got 10 in byte {place // 4}"):
        unpack(packed, (8,))


@pytest.mark.parametrize("length", [5, 6, 7])
def test_unpack_refuses_padding_that_is_set(length: int) -> None:
    packed = pack(int8([1] * 8))
    with pytest.raises(InputError, match="packed: expected zeros after the last code"):
        unpack(packed, (length,))
