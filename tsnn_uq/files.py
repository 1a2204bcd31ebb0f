"""Write files that are never incomplete: everything is written to a temporary file in the same folder, then renamed."""

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

if TYPE_CHECKING:  # torch and pandas take seconds to import, and many files do not need them
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

UNFINISHED = ".part-"  # prefix of temporary files
PATIENCE_S = 2.0  # Windows cannot replace a file that a reader or a virus scanner has open


def as_path(path: str | Path) -> Path:
    """Convert a path given by a user; a leading ``~`` is the home folder."""
    return Path(os.path.expanduser(path))


def file_name(text: str) -> str:
    """Make text usable in a file name: everything but letters, digits, dots, plus and minus signs becomes a minus sign.

    Example:
        >>> file_name("ternary (T = 4)")
        'ternary-T-4-'
    """
    return re.sub(r"[^\w.+-]+", "-", text)


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Context with a temporary path beside `target`, which is renamed to `target` on success and removed on failure.

    Readers see the old file or the new one but never a part, even if the process is killed.

    Raises:
        InputError: the folder is not writable or full.
    """
    target, handle = as_path(target), None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Keep the suffix, by which some writers (matplotlib) choose the format.
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
    """Rename a file over another one; if it is open elsewhere (Windows), retry for a while."""
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
    """Remove temporary files of processes that were killed while they wrote to `folder`.

    Args:
        folder: folder of the files.
        older_than_s: keep files that are younger, in seconds, since another process may be writing them.
    """
    for path in as_path(folder).glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError, PermissionError):  # another process removed it, or (Windows) has it open
            if older_than_s <= 0 or time.time() - path.stat().st_mtime > older_than_s:
                path.unlink()


def require_writable(folder: str | Path) -> None:
    """Raise now, before any work is lost, if `folder` cannot be created or written to."""
    folder = as_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.NamedTemporaryFile(dir=folder, prefix=UNFINISHED).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot write here ({error.strerror}); choose another folder") from error


def visible(folder: str | Path, pattern: str = "*") -> list[Path]:
    """The contents of a folder, sorted by path, without hidden files and the contents of hidden folders.

    Systems and programs leave such files among those of the user: macOS writes a ``._00002.bin`` beside each
    ``00002.bin`` on foreign disks, and ``.DS_Store``; Jupyter writes ``.ipynb_checkpoints``.

    Args:
        folder: the folder; it need not exist.
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
    """Format a table as CSV without its index, with all digits of floats, empty fields for NaN, and Unix line ends.

    Args:
        table: the table.
        options: further options of `pandas.DataFrame.to_csv`.
    """
    return table.to_csv(index=False, lineterminator="\n", **options)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; infinity becomes ``Infinity``, which Python reads but JSON lacks."""
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
        raise InputError(f"{path}: expected a {kind} file; it is damaged or of another format ({error})") from error


def read_json(path: str | Path) -> Any:
    """Read a JSON file; raises an `InputError` if it is missing or damaged."""
    return _read(path, json.loads, "JSON")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file; raises an `InputError` if it is missing or damaged."""
    return _read(path, tomllib.loads, "TOML")


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-compatible header as one safetensors file, atomically.

    In one file, tensors and header always belong together.
    """
    import torch
    from safetensors.torch import save_file

    # Copies, since the format rejects tensors that share memory, such as tied weights.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata={"header": json.dumps(header, allow_nan=False)})


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `write_tensors`: its tensors and header.

    Args:
        path: the file.
        kind: the expected ``"kind"`` in the header, e.g. ``"checkpoint"``.

    Raises:
        InputError: the file is missing, truncated, not a safetensors file, or of another kind.
    """
    with _opened(path, kind) as (file, header):
        # Copies, since the tensors would be views of a file that may be replaced.
        return {name: file.get_tensor(name).clone() for name in file.keys()}, header  # noqa: SIM118


def read_tensors_header(path: str | Path, kind: str) -> dict[str, Any]:
    """Read only the header of a file of `write_tensors`; arguments and errors as for `read_tensors`."""
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
        reason = f"it is damaged or of another format ({error}); delete it to start afresh"
        raise InputError(f"{path}: expected a {kind} file; {reason}") from error
    raise InputError(f"{path}: expected a {kind} file of tsnn-uq; got one of kind {header.get('kind')!r}")
