from __future__ import annotations

import gzip
import struct

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given

from tsnn_uq.checks import InputError
from tsnn_uq.data.idx_format import parse_idx, read_unpacked, unpack


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)))
def test_parse_gives_back_what_the_format_says(values):
    content = (
        b"\0\0\x08" + bytes([values.ndim]) + b"".join(struct.pack(">I", n) for n in values.shape) + values.tobytes()
    )
    parsed = parse_idx(content, "file")
    assert parsed.dtype == np.uint8
    assert parsed.shape == values.shape
    assert (parsed == values).all()


GOOD = bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "got nothing"),
        (b"\0\0", "got 00 00"),
        (b"<html>", "got 3c 68 74 6d"),
        (b"\0\0\x0d" + GOOD[3:], "got 00 00 0d 01"),  # floats
        (GOOD[:3] + b"\0", "got 00 00 08 00"),  # no axis
        (GOOD[:6], "got 00 00 08 01"),  # ends within the lengths
        (GOOD[:-1], "3 bytes for shape \\[3\\]; got 2"),
        (GOOD + b"\0", "3 bytes for shape \\[3\\]; got 4"),
    ],
)
def test_foreign_or_truncated_content_is_refused(content, got):
    with pytest.raises(InputError, match=rf"^/data/labels: expected .*{got}; replace the file$"):
        parse_idx(content, "/data/labels")


def test_unpack_goes_by_content_and_stops_past_the_limit():
    assert unpack(GOOD, limit=3) == GOOD
    assert unpack(gzip.compress(GOOD), limit=len(GOOD)) == GOOD
    assert len(unpack(gzip.compress(bytes(10_000_000)), limit=100)) == 101


def spoilt_checksum(packed: bytes) -> bytes:
    return packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda packed: packed[:-9], "ended before the end-of-stream"),
        (spoilt_checksum, "CRC check failed"),
        (lambda packed: packed[:10] + b"\xff" * 20 + packed[30:], "Error -3"),
    ],
)
def test_a_damaged_gzip_file_is_one_line_that_names_it(tmp_path, spoil, why):
    path = tmp_path / "images.gz"
    path.write_bytes(spoil(gzip.compress(GOOD * 20)))
    with pytest.raises(
        InputError, match=rf"images\.gz: expected an idx or idx\.gz file; .*{why}.*; delete it"
    ) as caught:
        read_unpacked(path, limit=len(GOOD) * 20)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.*No such file"):
        read_unpacked(tmp_path / "none", limit=1)
