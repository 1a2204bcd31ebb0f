"""A data set of a few images, with files like MNIST's, and the folder it lives in."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tsnn_uq.data import SOURCES, File, Source, data_folder, locate

CLOSED_PORT = "http://127.0.0.1:1/"


def as_idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


@dataclass(frozen=True)
class Tiny:
    source: Source
    content: dict[str, bytes]

    def write(self, folder: Path, pack=lambda content: content, suffix: str = "", files=None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files or self.source.files:
            (folder / f"{file.name}{suffix}").write_bytes(pack(self.content[file.name]))


def make_tiny(name: str, seed: int, url: str = CLOSED_PORT) -> Tiny:
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, count in (("train", 12), ("t10k", 5)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 4, 3), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, count, dtype=np.uint8)
    arrays["t10k-images-idx3-ubyte"][0, 0, :2] = 0, 255
    content = {name: as_idx(values) for name, values in arrays.items()}
    train_images, train_labels, test_images, test_labels = (
        File(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in content.items()
    )
    folders = (name, f"{name.upper()}/raw")
    source = Source(name, 10, folders, url, "us", "MIT", (train_images, train_labels), (test_images, test_labels))
    return Tiny(source, content)


@pytest.fixture
def register(monkeypatch):
    def add(name: str = "tiny", seed: int = 0, url: str = CLOSED_PORT) -> Tiny:
        tiny = make_tiny(name, seed, url)
        monkeypatch.setitem(SOURCES, name, tiny.source)
        return tiny

    return add


@pytest.fixture
def tiny(register) -> Tiny:
    return register()


@pytest.fixture
def need_files():
    """Skip the test unless the given parts of a real data set are in the folder TSNN_UQ_DATA."""

    def check(name: str, parts: tuple[str, ...] = ("train", "test")) -> Path:
        wanted = {file for part in parts for file in getattr(SOURCES[name], part)}
        if not os.environ.get("TSNN_UQ_DATA"):
            pytest.skip("TSNN_UQ_DATA is not set")
        if any(found.state != "verified" for found in locate(name) if found.file in wanted):
            pytest.skip(f"TSNN_UQ_DATA has no {name} ({', '.join(parts)})")
        return data_folder()

    return check
