"""Explain in one line what to install if a module of this project imports a missing package.

Packages are imported where they are used, so that ``pip install --no-deps`` is enough for one part: the metrics need
only torch and torchmetrics. Python calls the finder below after all others have failed to find a package. It only
handles imports by this project's own modules.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

from tsnn_uq.checks import InputError

__all__ = ["MissingPackageError", "missing_package"]

INSTALL = {
    "PIL": "pillow",
    "distributed": "'tsnn-uq[dask]'",
    "nir": "'tsnn-uq[nir]'",
    "pyro": "pyro-ppl",
    "ray": "'tsnn-uq[ray]'",
    "sklearn": "scikit-learn",
    "tensorboard": "'tsnn-uq[tensorboard]'",
    "tomli_w": "tomli-w",
}
"""Arguments of pip for packages that have another name there, or that are part of an extra."""
IMPORT_SYSTEM = {"importlib", "importlib._bootstrap", "_frozen_importlib"}


class MissingPackageError(InputError, ImportError):
    """A required package is not installed; the message says how to install it."""


def missing_package(package: str, needed_by: str) -> MissingPackageError:
    """The error for a package that is not installed.

    Example:
        >>> print(missing_package("sklearn", "tsnn_uq.detection"))
        tsnn_uq.detection: expected the package sklearn; it is not installed (pip install scikit-learn)
    """
    remedy = f"pip install {INSTALL.get(package, package)}"
    return MissingPackageError(f"{needed_by}: expected the package {package}; it is not installed ({remedy})")


class _LastFinder:
    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_globals.get("__name__") in IMPORT_SYSTEM:
            frame = frame.f_back
        module = frame.f_globals.get("__name__", "")
        if path is None and module.split(".")[0] == "tsnn_uq":
            raise missing_package(name, module)


sys.meta_path.append(_LastFinder)
