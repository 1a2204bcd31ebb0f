"""Files that are never half-written: everything goes to a temporary name beside its target and is renamed."""

from __future__ import annotations

import json
import os
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tomli_w
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tsnn_uq.checks import InputError

__all__ = [
    "UNFINISHED",
    "atomic_path",
    "read_json",
    "read_tensors",
    "read_toml",
    "remove_leftovers",
    "require_writable",
    "write_json",
    "write_tensors",
    "write_text",
    "write_toml",
]

UNFINISHED = ".part-"  # how the names of temporary files begin


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; on success rename it to `target`, on failure remove it.

    A reader, and a process killed at any moment, sees the old file or the new one, never a part.

    Raises:
        InputError: the folder cannot be written or is full.
    """
    handle = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays, since some writers (matplotlib) choose the format by it.
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f"{UNFINISHED}{target.stem}-", suffix=target.suffix)
        os.close(handle)
        temporary = Path(name)
    except OSError as error:
        raise InputError(f"{target}: cannot write here ({error.strerror}); choose another folder") from error
    try:
        yield temporary
        # mkstemp makes files private; give this one the permissions an ordinary open() would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{target}: writing failed ({reason}); free some space or choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, older_than_s: float = 0.0) -> None:
    """Remove the temporary files of processes that were killed while they wrote into `folder`.

    Args:
        folder: where they lie.
        older_than_s: let those be that are younger, in seconds, since a living process may be writing them.
    """
    for path in folder.glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError):  # another process removed it
            if older_than_s <= 0 or time.time() - path.stat().st_mtime > older_than_s:
                path.unlink()


def require_writable(folder: Path) -> None:
    """Raise now, before any work is lost, if `folder` cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.NamedTemporaryFile(dir=folder, prefix=UNFINISHED).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot write here ({error.strerror}); choose another folder") from error


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; infinity, which JSON lacks, as ``Infinity``, as Python reads it."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_toml(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as TOML, atomically."""
    write_text(path, tomli_w.dumps(dict(value)))


def _read(path: Path, parse: Callable[[str], Any], kind: str) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: expected a readable {kind} file; {error.strerror}") from error
    except ValueError as error:  # so are those of json, tomllib and decoding
        raise InputError(f"{path}: expected a {kind} file; it is damaged or foreign ({error})") from error


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or damaged one is a one-line `InputError`."""
    return _read(path, json.loads, "JSON")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; a missing or damaged one is a one-line `InputError`."""
    return _read(path, tomllib.loads, "TOML")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able header as one safetensors file, atomically.

    One file and not two, so that tensors and header can never belong to different moments.
    """
    # Copies, since the format refuses tensors that share memory, as tied weights do.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata={"header": json.dumps(header, allow_nan=False)})


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote, as (tensors, header).

    Args:
        path: the file.
        kind: the header's ``"kind"`` that is expected, e.g. ``"checkpoint"``.

    Raises:
        InputError: the file is missing, truncated, not a safetensors file, or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("header", "{}"))
            # Copies, since the tensors are otherwise views of a file that may be replaced under them.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a {kind} file; there is none") from error
    except (OSError, SafetensorError, ValueError) as error:
        reason = f"it is damaged or foreign ({error}); delete it to start afresh"
        raise InputError(f"{path}: expected a {kind} file; {reason}") from error
    if header.get("kind") != kind:
        raise InputError(f"{path}: expected a {kind} file of tsnn-uq; got one of kind {header.get('kind')!r}")
    return tensors, header
