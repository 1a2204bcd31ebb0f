"""The data folder: find and verify files, and download missing ones."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from gzip import BadGzipFile
from io import BytesIO
from pathlib import Path
from typing import Literal

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.data.cifar_format import PICKLED, records_of_pickle
from tsnn_uq.data.download_sources import SOURCES, File, Source
from tsnn_uq.data.idx_format import read_unpacked, unpack
from tsnn_uq.files import as_path, atomic_path

__all__ = ["Located", "Progress", "data_folder", "fetch", "locate", "obtain", "silent"]

TIMEOUT_SECONDS = 10
ATTEMPTS = 2
Progress = Callable[[str, int, int], object]
"""Called with what is being done, such as a file that is fetched, how much of it is done, and how much there is."""


def silent(*_: object) -> None:
    """A progress callback that does nothing."""


@dataclass(frozen=True)
class Located:
    """The state of one file.

    Args:
        file: its entry in the registry.
        path: where it is, or None.
        state: ``"verified"`` (its SHA-256 matches the registry), ``"missing"`` or ``"damaged"``.
        problem: for a damaged file, the problem and its remedy.
    """

    file: File
    path: Path | None
    state: Literal["verified", "missing", "damaged"]
    problem: str = ""


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The folder of data sets: `data_dir`, else the environment variable TSNN_UQ_DATA, else the user's cache folder."""
    chosen = data_dir or os.environ.get("TSNN_UQ_DATA")
    if chosen:
        return as_path(chosen)
    import pooch

    return Path(pooch.os_cache("tsnn-uq"))


def locate(name: str, data_dir: str | Path | None = None) -> list[Located]:
    """Find and verify the files of a data set, without changing anything.

    Each file may be plain or gzipped, in the data folder itself, in its sub-folder `name`, or where torchvision puts
    it. Files are identified by their hash, since MNIST and Fashion-MNIST use the same file names.

    Args:
        name: one of `SOURCES`, or ``"digits"``, which comes with scikit-learn and has no files.
        data_dir: as for `data_folder`.

    Returns:
        One record per file.

    Raises:
        InputError: `name` is unknown.
    """
    return [_find_file(source, file, data_folder(data_dir))[0] for source in _sources(name) for file in source.files]


def fetch(name: str, data_dir: str | Path | None = None, progress: Progress = silent) -> list[Path]:
    """Download the missing files of a data set.

    Args:
        name: as for `locate`.
        data_dir: as for `data_folder`.
        progress: called while files are downloaded.

    Returns:
        The paths of the verified files.

    Raises:
        InputError: `name` is unknown, a file is damaged, or the download failed.
    """
    return [obtain(source, file, data_dir, progress)[0] for source in _sources(name) for file in source.files]


def obtain(
    source: Source, file: File, data_dir: str | Path | None = None, progress: Progress = silent
) -> tuple[Path, bytes]:
    """The path and the verified, uncompressed content of a file, which is downloaded if missing.

    Raises:
        InputError: the file is damaged (it is not replaced, since it is the user's), or the download failed.
    """
    folder = data_folder(data_dir)
    found, content = _find_file(source, file, folder)
    if found.state == "damaged":
        raise InputError(found.problem)
    if found.path is not None:
        return found.path, content
    if not source.fetched:
        wanted = f"{file.name} in {folder / source.folders[0]}"
        raise InputError(f"{source.name}: expected {wanted}; it is missing; download it yourself, see {source.url}")
    return _download(source, file, folder, progress)


def _sources(name: str) -> list[Source]:
    check_choice("data set", name, ("digits", *SOURCES))
    return [] if name == "digits" else [SOURCES[name]]


def _candidates(source: Source, file: File, folder: Path) -> Iterator[Path]:
    for place in (*source.folders, ""):
        for suffix in ("", ".gz"):
            path = folder / place / f"{file.name}{suffix}"
            if path.is_file():
                yield path
        if source.layout == "cifar":  # torchvision's pickles
            path = folder / place.replace("-bin", "-py") / file.name.removesuffix(".bin")
            if path.is_file():
                yield path


def _find_file(source: Source, file: File, folder: Path) -> tuple[Located, bytes]:
    """The file's record, and its content if it is verified (so that loading reads and hashes it only once)."""
    others = {entry.sha256 for other in SOURCES.values() if other.name != source.name for entry in other.files}
    result = Located(file, None, "missing")
    for path in _candidates(source, file, folder):
        try:
            content = read_unpacked(path, file.size)
            if source.layout == "cifar" and content.startswith(PICKLED):
                content = records_of_pickle(content, str(path))
        except InputError as error:
            result = Located(file, path, "damaged", str(error))
            continue
        digest = hashlib.sha256(content).hexdigest()
        if digest == file.sha256:
            return Located(file, path, "verified"), content
        if path.parent == folder and digest in others:
            continue  # a valid file of the same name of another data set
        wanted = f"{source.name}'s {file.name} (SHA-256 {file.sha256[:12]}...)"
        remedy = "delete it to have it fetched again"
        result = Located(file, path, "damaged", f"{path}: expected {wanted}; got {digest[:12]}...; {remedy}")
    return result, b""


class _Bytes:
    """What pooch takes as a progress bar."""

    def __init__(self, name: str, progress: Progress) -> None:
        self.name, self.progress, self.total, self.done = name, progress, 0, 0

    def update(self, count: int) -> None:
        """Count more bytes; pooch counts the last block as a whole one, and some servers give no total."""
        self.done = min(self.done + count, self.total or self.done + count)
        self.progress(self.name, self.done, self.total or self.done)

    def reset(self) -> None:
        """Begin again."""
        self.done = 0

    def close(self) -> None:
        """Nothing is open."""


def _download(source: Source, file: File, folder: Path, progress: Progress) -> tuple[Path, bytes]:
    """Download, verify and then write, so that a failure does not change the user's folder.

    All files of an archive are written.
    """
    import pooch

    whole = source.url.endswith(".tar.gz")
    url = source.url if whole else f"{source.url}{file.name}.gz"
    wanted = source.files if whole else (file,)
    target = folder / source.folders[0]
    reason = ""
    for _ in range(ATTEMPTS):
        pooch.get_logger().info("fetching %s", url)
        packed = BytesIO()
        try:
            bar = _Bytes(url.rpartition("/")[2], progress)
            pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS, progressbar=bar)(url, packed, None)
            contents = {one: _member(packed, one) if whole else unpack(packed.getvalue(), one.size) for one in wanted}
        except (BadGzipFile, EOFError, KeyError, tarfile.TarError, zlib.error):
            contents = {}
        except OSError as error:  # as all errors of requests are
            reason = type(error).__name__
            continue
        if all(one in contents and hashlib.sha256(contents[one]).hexdigest() == one.sha256 for one in wanted):
            for one, content in contents.items():
                with atomic_path(target / one.name) as temporary:
                    temporary.write_bytes(content)
            return target / file.name, contents[file]
        reason = "the mirror sent a damaged file"
    failure = f"{file.name} is not in {folder}, and fetching {url} failed ({reason})"
    remedy = f"place the file in {target} or set TSNN_UQ_DATA to a folder that has it"
    raise InputError(f"{source.name}: {failure}; {remedy}")


def _member(packed: BytesIO, file: File) -> bytes:
    """The content of a file in any folder of an archive, at most one byte more than expected."""
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        found = [member for member in archive if member.isfile() and Path(member.name).name == file.name]
        stream = archive.extractfile(found[0]) if found else None
        return b"" if stream is None else stream.read(file.size + 1)
