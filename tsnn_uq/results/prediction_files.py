"""Predictions in files that any program can write: numpy's ``.npz``, or ``.safetensors``.

Keys are ``probs`` or ``logits``, ``labels`` and ``features`` for the test inputs, and the same with the prefix
``validation_``, ``train_`` or ``foreign_NAME_`` for other parts; ``inputs`` and ``answers``; and single numbers, named
as in `tsnn_uq.results.measures.COSTS`. `Part` and `Predictions` describe each.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, last_line
from tsnn_uq.files import as_path, write_tensors
from tsnn_uq.results.measures import COSTS
from tsnn_uq.results.predictions import Part, Predictions

__all__ = ["predictions_from_arrays", "read_prediction_file", "write_prediction_file"]

_FIELDS = ("probs", "logits", "labels", "features")
_WHOLE = ("inputs", "answers")  # keys that belong to no part
_KEY = re.compile(rf"(?:(test|validation|train|foreign_.+)_)?({'|'.join(_FIELDS)})")


def read_prediction_file(path: str | Path) -> Predictions:
    """Read the predictions of one network. Pickles are rejected, so no code in a file is executed.

    Args:
        path: a file whose name ends in ``.npz`` or ``.safetensors``.

    Raises:
        InputError: the file is missing, damaged or of another kind, a key is unknown or missing, or arrays are invalid
            or do not match.
    """
    path = as_path(path)
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise InputError(f"{path}: expected a file of predictions that ends in .npz or .safetensors")
    if not path.is_file():
        raise InputError(f"{path}: expected a file of predictions; there is none")
    arrays = readers[path.suffix](path)
    try:
        return predictions_from_arrays(arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def predictions_from_arrays(arrays: Mapping[str, Any]) -> Predictions:
    """Make predictions from tensors or numpy arrays, with the same keys as in files.

    Raises:
        InputError: as `read_prediction_file`.

    Example:
        >>> found = predictions_from_arrays({"probs": np.full((5, 3), 1 / 3), "labels": np.arange(5) % 3})
        >>> found.test.probs.shape
        torch.Size([1, 5, 3])
    """
    parts: dict[str, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    costs: dict[str, float] = {}
    for key, array in arrays.items():
        found = _KEY.fullmatch(key)
        if found:
            part = parts.setdefault(found[1] or "test", {})
            if found[2] in part:
                raise InputError(f"{key}: expected one array {found[2]} for the test inputs; got two")
            part[found[2]] = array
        elif key in COSTS:
            costs[key] = _number(key, array)
        elif key in _WHOLE:
            whole[key] = array
        else:
            known = [*_FIELDS, *(f"validation_{name}" for name in _FIELDS), *_WHOLE, *COSTS]
            check_choice("key", key, [*known, "foreign_NAME_probs", "foreign_NAME_logits", "foreign_NAME_features"])
    if "test" not in parts:
        raise InputError(f"probs: expected an array probs or logits; got {', '.join(arrays) or 'no array'}")
    made = {name: _part(name, part) for name, part in parts.items()}
    foreign = {name.removeprefix("foreign_"): part for name, part in made.items() if name.startswith("foreign_")}
    validation, train = made.get("validation"), made.get("train")
    return Predictions(made["test"], validation, foreign, train, costs=costs, **whole)


def _part(name: str, arrays: Mapping[str, Any]) -> Part:
    prefix = "" if name == "test" else f"{name}_"
    try:
        if "probs" in arrays:
            return Part(**arrays)
        if "logits" in arrays:
            return Part.from_logits(**arrays)
        raise InputError(
            f"probs: expected {prefix}probs or {prefix}logits beside {prefix}{next(iter(arrays))}; got none"
        )
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error


def _number(key: str, array: Any) -> float:
    values = np.asarray(array)
    if values.size != 1 or values.dtype.kind not in "iuf":
        raise InputError(f"{key}: expected a single number; got an array of shape {list(values.shape)}")
    return float(values.reshape(()))


def _read_npz(path: Path) -> dict[str, Any]:
    """The arrays in a ``.npz`` file."""
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path}: expected a .npz file, as written by numpy.savez; got a file that is not a zip archive"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        RuntimeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        pickled = "pickle" in str(error)
        reason = "it contains Python objects; save plain arrays of numbers" if pickled else last_line(error)
        raise InputError(f"{path}: expected a .npz file of arrays; {reason}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise InputError(
                f"{path}: expected only arrays, as written by numpy.savez; got {name}, which is not an array"
            )
    return arrays


def _read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors in a ``.safetensors`` file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{path}: expected a safetensors file; it is damaged or of another format ({last_line(error)})"
        ) from error


def write_prediction_file(path: str | Path, predictions: Predictions) -> None:
    """Write predictions as a safetensors file that `read_prediction_file` reads, atomically.

    Args:
        path: the file, ending in ``.safetensors``.
        predictions: the predictions of one network.

    Raises:
        InputError: the name has another ending, or the folder is not writable.
    """
    path = as_path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"path: expected a name that ends in .safetensors; got {path.name!r}")
    tensors: dict[str, Tensor | None] = {"inputs": predictions.inputs, "answers": predictions.answers}
    for name, part in predictions.parts().items():
        prefix = "" if name == "test" else f"{name}_"
        probs = part.probs if part.over_time is None else part.over_time
        own = {"probs": probs, "labels": part.labels, "logits": part.logits, "features": part.features}
        tensors |= {f"{prefix}{field}": tensor for field, tensor in own.items()}
    tensors |= {name: torch.tensor(value, dtype=torch.float64) for name, value in predictions.costs.items()}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    write_tensors(path, kept, {"kind": "predictions"})
