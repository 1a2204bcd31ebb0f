from __future__ import annotations

import hashlib
import io
import math
import os
import tarfile
import wave

import numpy as np
import pytest
import torch

from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding, unpack_spikes
from tsnn_uq.data import level_crossings, load_spoken_digits, mel_energies, spoken_digits
from tsnn_uq.experiments import Context, make_settings, run
from tsnn_uq.experiments.evaluation import cost_of_run
from tsnn_uq.experiments.inputs import load_splits


def test_energies_are_those_of_the_definition():
    samples = np.random.default_rng(0).normal(size=700) * np.linspace(0, 3, 700)
    ours = mel_energies(samples, frames=9, bands=5)
    padded = [*samples, *[0.0] * 400]
    corners = [700 * (10 ** (2595 * math.log10(1 + 4000 / 700) * k / 6 / 2595) - 1) for k in range(7)]
    energy = np.zeros((9, 5))
    for frame in range(9):
        window = [
            padded[100 * frame + n] * math.sin(math.pi * n / 200) ** 2 for n in range(200)
        ]  # a periodic Hann window
        for k in range(129):
            f = 8000 * k / 256
            wave_ = sum(
                x * complex(math.cos(a), math.sin(a)) for n, x in enumerate(window) for a in [-math.tau * k * n / 256]
            )
            for band in range(5):
                low, middle, high = corners[band : band + 3]
                inside = (f - low) / (middle - low) if f <= middle else (high - f) / (high - middle)
                energy[frame, band] += max(0.0, inside) * abs(wave_) ** 2
    wanted = 1 + np.maximum(10 * np.log10(energy / energy.max() + 1e-300), -60) / 60
    np.testing.assert_allclose(ours, wanted, atol=1e-6)
    assert ours.dtype == np.float32


def test_silence_is_zero_and_long_recordings_are_cut():
    assert not mel_energies(np.zeros(300), frames=4, bands=3).any()
    loud = np.random.default_rng(1).normal(size=5000)
    assert (mel_energies(loud, frames=6) == mel_energies(loud[: 5 * 100 + 200], frames=6)).all()
    assert mel_energies(np.ones(10), frames=6)[2:].max() == 0


def test_crossings_are_counted_one_by_one():
    energies = np.random.default_rng(0).random((12, 3))
    spikes = level_crossings(energies, levels=5)
    for band in range(3):
        before = 0.0
        for step in range(12):
            now = energies[step, band]
            for number in range(5):
                level = (number + 0.5) / 5
                assert spikes[step, 0, number, band] == (before >= level > now)
                assert spikes[step, 1, number, band] == (before < level <= now)
            before = now


@pytest.fixture
def small(monkeypatch):
    """A data set of two digits, three speakers and seven takes."""
    for name, value in (("CLASSES", 2), ("SPEAKERS", ("a", "b", "c")), ("TAKES", 7), ("VALIDATION", 4)):
        monkeypatch.setattr(spoken_digits, name, value)
    rng, content = np.random.default_rng(0), {}
    for name in (f"{digit}_{who}_{take}.wav" for digit in range(2) for who in "abc" for take in range(7)):
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(rng.integers(-3000, 3000, rng.integers(300, 900), dtype="<i2").tobytes())
        content[name] = file.getvalue()
    digest = hashlib.sha256(b"".join(name.encode() + content[name] for name in sorted(content)))
    monkeypatch.setattr(spoken_digits, "SHA256", digest.hexdigest())
    return content


def write(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    for name, sound in content.items():
        (folder / name).write_bytes(sound)


def everything(splits):
    """Who is where: the samples of each recording as its energies, with its digit."""
    return [
        sorted((int(label), image.numpy().tobytes()) for image, label in zip(part.images, part.labels, strict=True))
        for part in (splits.train, splits.validation, splits.test)
    ]


def recordings(content, which):
    chosen = {name: spoken_digits._samples(sound) for name, sound in content.items() if which(name)}
    energies = {name: mel_energies(samples, frames=6, bands=4) for name, samples in chosen.items()}
    return sorted((int(name[0]), one.tobytes()) for name, one in energies.items())


def test_the_official_split_and_that_by_speaker(tmp_path, small):
    write(tmp_path / "fsdd" / "recordings", small)
    options = {"code": "current", "steps": 6, "bands": 4}
    splits = load_spoken_digits(tmp_path, **options)
    train, validation, test = everything(splits)
    assert test == recordings(small, lambda name: int(name[4]) < 5)
    assert sorted(train + validation) == recordings(small, lambda name: int(name[4]) >= 5)
    assert len(validation) == 4
    assert splits.train.images.shape == (8, 6, 1, 1, 4)
    assert splits.train.shape == (1, 1, 4)
    for seed in range(4):
        train, validation, test = everything(load_spoken_digits(tmp_path, seed=seed, folds=3, **options))
        assert test == recordings(small, lambda name, who="abca"[seed]: name[2] == who)
        assert len(train + validation) == 28
    with pytest.raises(InputError, match="folds: expected 0, or 3"):
        load_spoken_digits(tmp_path, folds=5)


def test_runs_leave_out_the_speaker_of_their_seed(tmp_path, small):
    write(tmp_path / "fsdd", small)
    settings = make_settings({"data": "fsdd", "steps": 6, "data.bands": 4, "folds": 3, "seed": 1})
    assert (settings.network.coding, settings.network.steps) == ("events", 6)
    ours, theirs = load_splits(settings, tmp_path), load_spoken_digits(tmp_path, seed=1, folds=3, steps=6, bands=4)
    assert torch.equal(ours.test.images, theirs.test.images)
    assert torch.equal(ours.validation.labels, theirs.validation.labels)


def test_an_archive_is_as_good_as_a_folder_and_crossings_are_bits(tmp_path, small):
    (tmp_path / "fsdd").mkdir()
    with tarfile.open(tmp_path / "fsdd" / "all.tar.xz", "w:xz") as tar:
        for name, sound in [("x.wav", b"?"), *small.items()]:
            member = tarfile.TarInfo(f"free-spoken-digit-dataset/recordings/{name}")
            member.size = len(sound)
            tar.addfile(member, io.BytesIO(sound))
    packed = load_spoken_digits(tmp_path, steps=6, bands=4, levels=3)
    current = load_spoken_digits(tmp_path, steps=6, bands=4, code="current")
    assert packed.test.shape == (2, 3, 4)
    bits = unpack_spikes(packed.test.images, 24).reshape(30, 6, 2, 3, 4)
    for ours, energies in zip(bits, current.test.images, strict=True):
        assert (ours.numpy() == level_crossings(energies[:, 0, 0].numpy(), 3)).all()
    assert torch.equal(Coding("events", steps=6)(current.test.images), current.test.images.transpose(0, 1))
    assert Coding("events", steps=6)(packed.test.images).shape == (6, 30, 3)
    (tmp_path / "fsdd" / "all.tar.xz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"all\.tar\.xz: expected an archive of recordings"):
        load_spoken_digits(tmp_path)


def test_what_is_missing_or_damaged_is_told(tmp_path, small):
    with pytest.raises(InputError, match=r"fsdd: expected recordings .*download it yourself"):
        load_spoken_digits(tmp_path)
    write(tmp_path / "fsdd", small)
    path = tmp_path / "fsdd" / "1_b_3.wav"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="expected recordings with SHA-256"):
        load_spoken_digits(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"expected 42 recordings; 1_b_3\.wav is missing"):
        load_spoken_digits(tmp_path)


def test_the_recordings_themselves():
    if not os.environ.get("TSNN_UQ_DATA"):
        pytest.skip("TSNN_UQ_DATA is not set")
    try:
        splits = load_spoken_digits(steps=5, bands=2)
    except InputError as error:
        pytest.skip(str(error))
    assert splits.test.labels.bincount().tolist() == [30] * 10
    assert torch.cat([splits.train.labels, splits.validation.labels]).bincount().tolist() == [270] * 10


@pytest.mark.parametrize("code", ["crossings", "current"])
def test_a_run_on_them_costs_what_its_row_says(code, tmp_path, small):
    write(tmp_path / "fsdd", small)
    given = {"data": "fsdd", "data.code": code, "data.bands": 4, "steps": 6, "hidden": (3,), "epochs": 1, "samples": 2}
    settings = make_settings(given)
    row = run(settings, tmp_path / "runs", Context(tmp_path))
    _, total, _ = cost_of_run(tmp_path / "runs" / settings.name)
    assert (total.flops, total.energy_pj, row["steps"]) == (row["flops"], row["energy_pj"], 6)
