from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tsnn_uq.checks import InputError
from tsnn_uq.data import human_answers

NPY, NPZ = "cifar10h-counts.npy", "cifar10h-test-human-counts.npz"


def answers() -> np.ndarray:
    counts = np.zeros((10_000, 10), dtype=np.uint8)
    counts[:, 3] = 50
    return counts


@pytest.mark.parametrize("place", ["", "cifar10h"])
def test_both_forms_are_found_in_the_folder_or_under_their_name(place: str, tmp_path: Path) -> None:
    folder = tmp_path / place
    folder.mkdir(exist_ok=True)
    np.save(folder / NPY, answers())
    one = human_answers(tmp_path)
    assert one.dtype == torch.int64
    assert one.shape == (10_000, 10)
    assert (one[:, 3] == 50).all()
    (folder / NPY).unlink()
    np.savez(folder / NPZ, counts=answers().astype(float))
    assert torch.equal(human_answers(tmp_path), one)


def test_what_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cifar10h: expected cifar10h-counts.npy .* non-commercial"):
        human_answers(tmp_path)
    path = tmp_path / NPY
    path.write_bytes(b"not an array")
    with pytest.raises(InputError, match="replace the file"):
        human_answers(tmp_path)
    np.save(path, np.array([{"code": "never run"}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="replace the file"):
        human_answers(tmp_path)
    for bad in (answers()[:100], answers() / 7, 0 * answers(), -1 * answers().astype(int)):
        np.save(path, bad)
        with pytest.raises(InputError, match="expected counts"):
            human_answers(tmp_path)


def test_the_published_answers() -> None:
    folder = os.environ.get("TSNN_UQ_DATA")
    if folder is None or not (Path(folder) / "cifar10h").is_dir():
        pytest.skip("needs CIFAR-10H in the data folder")
    counts = human_answers(folder)
    assert counts.sum(1).min() == 47
    assert counts.sum(1).max() == 63
    assert counts.argmax(1)[:4].tolist() == [3, 8, 8, 0]  # cat, ship, ship, airplane
