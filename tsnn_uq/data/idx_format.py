"""The idx format of the MNIST family, plain or gzipped."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.checks import InputError

__all__ = ["parse_idx", "read_unpacked", "unpack"]

GZIP_MAGIC = b"\x1f\x8b"
UBYTE = 0x08


def unpack(packed: bytes, limit: int) -> bytes:
    """Gunzip `packed` if it is gzipped, stopping one byte after `limit`.

    The magic number decides, not the file name, which browsers may change.

    Args:
        packed: content of an idx or idx.gz file.
        limit: expected number of bytes. At most one more is returned, so that a wrong file cannot fill the memory.

    Raises:
        OSError, EOFError, zlib.error: a corrupt or truncated gzip stream.
    """
    if not packed.startswith(GZIP_MAGIC):
        return packed
    with gzip.open(io.BytesIO(packed)) as stream:
        return stream.read(limit + 1)


def read_unpacked(path: Path, limit: int) -> bytes:
    """The uncompressed content of an idx or idx.gz file, as `unpack` gives it.

    Raises:
        InputError: the file cannot be read, or its gzip stream is corrupt or truncated.
    """
    try:
        return unpack(path.read_bytes(), limit)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: expected an idx or idx.gz file; {error}; delete it to have it fetched again"
        ) from error


def parse_idx(content: bytes, origin: str) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes.

    Two zero bytes, the type (8: unsigned byte), the number of axes, each axis' length as four big-endian bytes, then
    the values in row-major order (http://yann.lecun.com/exdb/mnist).

    Args:
        content: the uncompressed bytes.
        origin: the file's path, for error messages.

    Raises:
        InputError: the magic number is wrong, or the number of bytes does not match the lengths.

    Example:
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]), "labels")
        array([7, 8, 9], dtype=uint8)
    """
    axes = content[3] if len(content) > 3 else 0
    start = 4 + 4 * axes
    if content[:3] != bytes((0, 0, UBYTE)) or axes == 0 or len(content) < start:
        got = content[:4].hex(" ") or "nothing"
        raise InputError(
            f"{origin}: expected idx data of unsigned bytes (it begins 00 00 08); got {got}; replace the file"
        )
    shape = np.frombuffer(content, dtype=">u4", count=axes, offset=4).tolist()
    if len(content) - start != math.prod(shape):
        wanted = f"{math.prod(shape)} bytes for shape {shape}"
        raise InputError(f"{origin}: expected {wanted}; got {len(content) - start}; replace the file")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
