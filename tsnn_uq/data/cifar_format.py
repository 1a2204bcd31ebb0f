"""Read CIFAR-10's files: the binary format, and torchvision's pickles without executing them."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsnn_uq.checks import InputError

__all__ = ["PICKLED", "parse_records", "records_of_pickle"]

PICKLED = b"\x80"
"""The first byte of a pickle; in the binary format that byte is a label."""
ARRAYS = {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
ARRAYS |= {("numpy", "ndarray"), ("numpy", "dtype")}


def parse_records(content: bytes, shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images [N, *shape] and labels [N] in records of a label byte and the pixels, channel by channel, row by row.

    See https://www.cs.toronto.edu/~kriz/cifar.html.

    Args:
        content: the uncompressed bytes, a whole number of records.
        shape: channels, height and width of an image.

    Example:
        >>> images, labels = parse_records(bytes([7, 1, 2, 3, 9, 4, 5, 6]), (3, 1, 1))
        >>> labels.tolist(), images.reshape(2, 3).tolist()
        ([7, 9], [[1, 2, 3], [4, 5, 6]])
    """
    channels, height, width = shape
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + channels * height * width)
    return records[:, 1:].reshape(-1, *shape), records[:, 0]


def records_of_pickle(content: bytes, origin: str) -> bytes:
    """Convert a pickled batch of CIFAR-10, as in torchvision's ``cifar-10-batches-py``, to the binary format.

    A pickle can call any function that it names. Here calls are recorded and not made, only the names that an array
    needs are allowed, and the array is built from its bytes.

    Args:
        content: the pickle.
        origin: the file's path, for error messages.

    Raises:
        InputError: the content is not a dictionary with ``labels`` and a byte array ``data``.
    """
    try:
        batch = _Reader(io.BytesIO(content), encoding="bytes").load()
        labels, data = (batch.get(name.encode(), batch.get(name)) for name in ("labels", "data"))
        _, shape, dtype, by_columns, pixels = data.state
        if dtype.arguments[0] not in ("u1", b"u1") or by_columns or not isinstance(pixels, bytes):
            raise ValueError("its array is not of bytes in row-major order")
        rows = np.frombuffer(pixels, np.uint8).reshape(shape)
        return np.column_stack([np.array(labels, np.uint8), rows]).tobytes()
    except Exception as error:  # a damaged pickle can raise any error
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{origin}: expected a pickled batch of CIFAR-10; {reason}; replace the file") from error


class _Call:
    """A recorded call in a pickle: its arguments and its state."""

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Reads a pickle without importing or calling anything."""

    def find_class(self, module: str, name: str) -> type[_Call]:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not part of an array")
        return _Call
