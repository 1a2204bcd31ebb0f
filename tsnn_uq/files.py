"""Files that are never half-written: everything goes to a temporary name beside its target and is renamed."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError

if TYPE_CHECKING:  # torch and pandas take seconds to import, and not all who read and write files need them
    from pandas import DataFrame
    from torch import Tensor

__all__ = [
    "UNFINISHED",
    "as_path",
    "atomic_path",
    "csv_text",
    "file_name",
    "read_json",
    "read_tensors",
    "read_tensors_header",
    "read_toml",
    "remove_leftovers",
    "require_writable",
    "visible",
    "write_json",
    "write_tensors",
    "write_text",
    "write_toml",
]

UNFINISHED = ".part-"  # how the names of temporary files begin
PATIENCE_S = 2.0  # Windows cannot replace a file that a reader or a virus scanner has open


def as_path(path: str | Path) -> Path:
    """A path that a user gave; ``~`` at its beginning is the home folder."""
    return Path(os.path.expanduser(path))


def file_name(text: str) -> str:
    """A text as part of a file's name: what is no letter, digit, dot, plus or minus sign becomes a minus sign.

    Example:
        >>> file_name("ternary (T = 4)")
        'ternary-T-4-'
    """
    return re.sub(r"[^\w.+-]+", "-", text)


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; on success rename it to `target`, on failure remove it.

    A reader, and a process killed at any moment, sees the old file or the new one, never a part.

    Raises:
        InputError: the folder cannot be written or is full.
    """
    target, handle = as_path(target), None
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
        with temporary.open("r+b") as file:  # Windows flushes only what is open for writing
            os.fsync(file.fileno())
        _replace(temporary, target)
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
            raise
        reason = getattr(error, "strerror", None) or error
        remedy = "close what has it open" if isinstance(error, PermissionError) else "free some space"
        raise InputError(f"{target}: writing failed ({reason}); {remedy} or choose another folder") from error
    finally:
        with suppress(PermissionError):  # on Windows, if the writer failed and left the file open
            temporary.unlink(missing_ok=True)


def _replace(source: Path, target: Path) -> None:
    """Rename a file over another one; where that cannot be because it is open, wait a while until it is closed."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if time.monotonic() > until:
                raise
        time.sleep(0.02)


def remove_leftovers(folder: str | Path, older_than_s: float = 0.0) -> None:
    """Remove the temporary files of processes that were killed while they wrote into `folder`.

    Args:
        folder: the folder of the files.
        older_than_s: let those be that are younger, in seconds, since a living process may be writing them.
    """
    for path in as_path(folder).glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError, PermissionError):  # another process removed it, or (Windows) has it open
            if older_than_s <= 0 or time.time() - path.stat().st_mtime > older_than_s:
                path.unlink()


def require_writable(folder: str | Path) -> None:
    """Raise now, before any work is lost, if `folder` cannot be made or written to."""
    folder = as_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.NamedTemporaryFile(dir=folder, prefix=UNFINISHED).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot write here ({error.strerror}); choose another folder") from error


def visible(folder: str | Path, pattern: str = "*") -> list[Path]:
    """What a folder holds, sorted by path, without hidden files and what is in hidden folders.

    Systems and programs leave such files of their own among a user's: macOS a ``._00002.bin`` beside each
    ``00002.bin`` on foreign disks, and ``.DS_Store``; Jupyter ``.ipynb_checkpoints``.

    Args:
        folder: where to look; nothing is found in a folder that does not exist.
        pattern: as for `pathlib.Path.glob`.
    """
    folder = as_path(folder)
    found = folder.glob(pattern)
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8 with the same bytes on every system, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def csv_text(table: DataFrame, **options: Any) -> str:
    """A table without its index as CSV, with all digits of floats, nothing for NaN, and line ends as on Unix.

    Args:
        table: any.
        options: others of `pandas.DataFrame.to_csv`.
    """
    return table.to_csv(index=False, lineterminator="\n", **options)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; infinity, which JSON lacks, as ``Infinity``, as Python reads it."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_toml(path: str | Path, value: Mapping[str, Any]) -> None:
    """Write `value` as TOML, atomically."""
    import tomli_w

    write_text(path, tomli_w.dumps(dict(value)))


def _read(path: str | Path, parse: Callable[[str], Any], kind: str) -> Any:
    try:
        return parse(as_path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: expected a readable {kind} file; {error.strerror}") from error
    except ValueError as error:  # so are those of json, tomllib and decoding
        raise InputError(f"{path}: expected a {kind} file; it is damaged or foreign ({error})") from error


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or damaged one is a one-line `InputError`."""
    return _read(path, json.loads, "JSON")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file; a missing or damaged one is a one-line `InputError`."""
    return _read(path, tomllib.loads, "TOML")


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able header as one safetensors file, atomically.

    One file and not two, so that tensors and header can never belong to different moments.
    """
    import torch
    from safetensors.torch import save_file

    # Copies, since the format refuses tensors that share memory, as tied weights do.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata={"header": json.dumps(header, allow_nan=False)})


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensors` wrote, as (tensors, header).

    Args:
        path: the file.
        kind: the header's ``"kind"`` that is expected, e.g. ``"checkpoint"``.

    Raises:
        InputError: the file is missing, truncated, not a safetensors file, or of another kind.
    """
    with _opened(path, kind) as (file, header):
        # Copies, since the tensors are otherwise views of a file that may be replaced under them.
        return {name: file.get_tensor(name).clone() for name in file.keys()}, header  # noqa: SIM118


def read_tensors_header(path: str | Path, kind: str) -> dict[str, Any]:
    """The header alone of what `write_tensors` wrote; arguments and errors as for `read_tensors`."""
    with _opened(path, kind) as (_, header):
        return header


@contextmanager
def _opened(path: str | Path, kind: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(as_path(path), framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("header", "{}"))
            if header.get("kind") == kind:
                yield file, header
                return
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a {kind} file; there is none") from error
    except (OSError, SafetensorError, ValueError) as error:
        reason = f"it is damaged or foreign ({error}); delete it to start afresh"
        raise InputError(f"{path}: expected a {kind} file; {reason}") from error
    raise InputError(f"{path}: expected a {kind} file of tsnn-uq; got one of kind {header.get('kind')!r}")
