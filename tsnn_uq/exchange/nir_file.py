"""Read and write NIR files. They are HDF5 files of numbers and strings, so reading one runs no code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tsnn_uq.checks import InputError, last_line
from tsnn_uq.files import as_path, atomic_path

if TYPE_CHECKING:
    import nir

__all__ = ["read_nir", "write_nir"]


def write_nir(path: str | Path, graph: nir.NIRGraph) -> None:
    """Write a graph to a NIR file atomically.

    Raises:
        InputError: `nir` is not installed, or the folder cannot be written.
    """
    import nir

    with atomic_path(path) as temporary:
        nir.write(temporary, graph)


def read_nir(path: str | Path) -> nir.NIRGraph:
    """Read a NIR file written by any library.

    nir's own shape check is disabled, since up to version 1.0.8 it rejects grouped convolutions and kernels that are
    not square. `from_nir` checks shapes itself.

    Raises:
        InputError: `nir` is not installed, or the file is missing, damaged or not a NIR file.
    """
    import nir

    try:
        return nir.read(as_path(path), type_check=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a NIR file; got no such file") from error
    except Exception as error:  # h5py and nir document no exception types
        problem = f"it is damaged or of another format ({last_line(error)})"
        raise InputError(f"{path}: expected a NIR file; {problem}") from error
