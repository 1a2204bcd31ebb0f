"""Trained networks by name: run folders that come with the project's sources, but not with the installed package."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.files import read_toml

__all__ = ["find_run", "pretrained_folder", "pretrained_names"]

VARIABLE = "TSNN_UQ_NETWORKS"
INDEX = Path(__file__).with_name("pretrained.toml")
CHECKOUT = Path(__file__).parents[2] / "paper" / "networks"


def pretrained_names() -> list[str]:
    """Names of the shipped networks."""
    return list(read_toml(INDEX))


def find_run(given: Path) -> Path:
    """A run's folder as it is given, or, where there is none, that of the shipped network of this name."""
    return pretrained_folder(str(given)) if not given.exists() and str(given) in pretrained_names() else given


def pretrained_folder(name: str) -> Path:
    """The run folder of a shipped network, its files verified.

    It is looked for in the folder that the environment variable TSNN_UQ_NETWORKS names, else in ``paper/networks`` of
    the checkout that this code is in.

    Args:
        name: of `pretrained_names`.

    Raises:
        InputError: an unknown name, or a file that is missing or is not the shipped one.
    """
    entry = read_toml(INDEX)[check_choice("name", name, pretrained_names())]
    folder = Path(os.environ.get(VARIABLE) or CHECKOUT) / entry["folder"]
    for file, sha256 in entry["sha256"].items():
        path = folder / file
        if not path.exists():
            remedy = f"copy paper/networks from the sources of tsnn_uq and set {VARIABLE} to that folder"
            raise InputError(f"{name}: expected {path}; it is missing ({remedy})")
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise InputError(f"{path}: expected the shipped file of SHA-256 {sha256}; got another (copy it anew)")
    return folder
