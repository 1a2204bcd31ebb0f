"""NIR files, which are HDF5: numbers and strings, and nothing that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tsnn_uq.checks import InputError, last_line
from tsnn_uq.files import as_path, atomic_path

if TYPE_CHECKING:
    import nir

__all__ = ["read_nir", "write_nir"]


def write_nir(path: str | Path, graph: nir.NIRGraph) -> None:
    """Write a graph as a NIR file, atomically.

    Raises:
        InputError: `nir` is not installed, or the folder cannot be written.
    """
    import nir

    with atomic_path(path) as temporary:
        nir.write(temporary, graph)


def read_nir(path: str | Path) -> nir.NIRGraph:
    """Read a NIR file of any library.

    nir's own check of shapes is left out: up to version 1.0.8 it refuses grouped convolutions and kernels that are not
    square. `from_nir` checks what it needs.

    Raises:
        InputError: `nir` is not installed, or the file is missing, damaged or of another kind.
    """
    import nir

    try:
        return nir.read(as_path(path), type_check=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a NIR file; there is none") from error
    except Exception as error:  # of h5py and nir, which name no kinds
        raise InputError(f"{path}: expected a NIR file; it is damaged or foreign ({last_line(error)})") from error
