from __future__ import annotations

import os
from collections import Counter

import pytest
import torch

from tests.helpers.events import write_nmnist
from tsnn_uq.checks import InputError
from tsnn_uq.coding import unpack_spikes
from tsnn_uq.data import load, load_all, load_test
from tsnn_uq.data.nmnist import FULL


@pytest.fixture
def small(tmp_path):
    """(Data folder, its N-MNIST's folder)."""
    write_nmnist(tmp_path / "nmnist")
    return tmp_path, tmp_path / "nmnist"


def keys(*datasets) -> Counter:
    return Counter(
        (image.numpy().tobytes(), int(label))
        for part in datasets
        for image, label in zip(part.images, part.labels, strict=True)
    )


@pytest.mark.parametrize("folder", ["nmnist", "N-MNIST", "NMNIST", "nmnist-small"])
def test_every_usual_folder_is_found_and_all_of_it_read(tmp_path, folder):
    written = write_nmnist(tmp_path / folder)
    everything = load_all("nmnist", tmp_path, bin_ms=5.0)
    assert [len(everything), everything.name, everything.classes, everything.steps] == [50, "nmnist-small", 10, 62]
    # Train before Test, each in the order of its numbers, as MNIST has them.
    order = sorted(written.items(), key=lambda item: (item[0].startswith("Test"), item[0][-9:]))
    assert everything.labels.tolist() == [digit for _, (digit, _) in order]
    spikes = unpack_spikes(everything.images, 2312, torch.bool).view(50, 62, 2, 34, 34)
    for recording, (_, (_, rows)) in zip(spikes, order, strict=True):
        expected = {(t // 5000, p, y, x) for x, y, p, t in rows if t < 310_000}
        assert set(map(tuple, recording.nonzero().tolist())) == expected


def test_the_full_set_goes_before_the_small_one(tmp_path):
    write_nmnist(tmp_path / "nmnist-small")
    write_nmnist(tmp_path / "N-MNIST", train=1, test=1)
    assert len(load_test("nmnist", tmp_path, steps=1)) == 10


def test_files_that_systems_leave_among_the_recordings_are_none(small):
    folder, home = small
    before = load_all("nmnist", folder)
    for part in ("Train", "Test"):
        for digit in (home / part).iterdir():
            for name in (".DS_Store", "Thumbs.db", "desktop.ini", "00001.bin.part"):
                (digit / name).write_bytes(b"what a system keeps")
            for recording in [*digit.glob("*.bin")]:
                (digit / f"._{recording.name}").write_bytes(b"\x00\x05\x16\x07")  # as macOS on foreign disks
        (home / part / ".DS_Store").write_bytes(b"")
    after = load_all("nmnist", folder)
    assert torch.equal(after.images, before.images)
    assert torch.equal(after.labels, before.labels)
    for recording in (home / "Test" / "3").glob("[0-9]*.bin"):
        recording.unlink()
    with pytest.raises(InputError, match="got none of 3"):
        load_test("nmnist", folder)


def test_a_set_is_small_unless_it_has_all_recordings(small, monkeypatch):
    monkeypatch.setitem(FULL, "test", 20)
    assert load_test("nmnist", small[0], steps=1).name == "nmnist"
    assert load("nmnist", small[0], steps=1, validation=2).name == "nmnist-small"
    monkeypatch.setitem(FULL, "train", 30)
    splits = load("nmnist", small[0], steps=1, validation=2)
    assert {splits.name, splits.train.name, splits.validation.name, splits.test.name} == {"nmnist"}


def test_recordings_are_split_without_overlap_or_loss(small):
    splits, everything = load("nmnist", small[0], seed=1, validation=7), load_all("nmnist", small[0])
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [23, 7, 20]
    assert keys(splits.train, splits.validation, splits.test) == keys(everything)
    assert max(keys(everything).values()) == 1
    assert keys(splits.test) == keys(load_test("nmnist", small[0]))
    other = load("nmnist", small[0], seed=2, validation=7)
    assert keys(other.validation) != keys(splits.validation)
    assert torch.equal(load("nmnist", small[0], seed=1, validation=7).train.images, splits.train.images)


def test_the_small_set_has_100_to_validate(small):
    with pytest.raises(InputError, match=r"^validation: expected fewer than the 30 inputs"):
        load("nmnist", small[0])


def test_no_set_no_part_and_no_digit_are_told(tmp_path, small):
    with pytest.raises(InputError, match=r"^nmnist: expected a folder .*none/nmnist"):
        load_test("nmnist", tmp_path / "none")
    folder, home = small
    for path in (home / "Test" / "3").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=rf"^nmnist: expected recordings {home}/Test/0/\*.bin to 9"):
        load_test("nmnist", folder)
    (home / "Test").rename(home / "test-set")
    with pytest.raises(InputError, match=f"^nmnist: expected recordings {home}/Test/0/"):
        load("nmnist", folder, validation=1)


def test_a_bad_recording_is_named_or_left_out_and_counted(small):
    folder, home = small
    good = load_all("nmnist", folder)
    bad = [*sorted((home / "Test" / "7").iterdir()), next((home / "Train" / "0").iterdir())]
    numbers = [int(path.stem) - 1 + 30 * (path.parts[-3] == "Test") for path in bad]
    for path in bad:
        path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match=f"^{bad[0]}: expected events"):
        load_test("nmnist", folder)
    rest = load_all("nmnist", folder, skip_bad=True)
    kept = [index for index in range(50) if index not in numbers]
    assert torch.equal(rest.images, good.images[kept])
    assert torch.equal(rest.labels, good.labels[kept])
    assert len(rest.skipped) == 3
    assert all(any(problem.startswith(str(path)) for problem in rest.skipped) for path in bad)
    assert good.skipped == ()


def test_bad_recordings_alone_are_an_error_even_if_skipped(small):
    folder, home = small
    for path in (home / "Test").glob("*/*.bin"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"got 0 bytes.*; and so are all 20 recordings of this part of nmnist-small"):
        load_test("nmnist", folder, skip_bad=True)


@pytest.mark.parametrize(
    ("name", "arguments", "match"),
    [
        ("digits", {"bin_ms": 1.0}, "^bin_ms: expected only with nmnist"),
        ("digits", {"steps": 8}, "^steps: expected only with nmnist"),
        ("digits", {"skip_bad": True}, "^skip_bad: expected only with nmnist"),
        ("nmnits", {}, "^data set: expected one of"),
    ],
)
def test_images_take_no_arguments_of_events(name, arguments, match):
    for loader in (load, load_test, load_all):
        with pytest.raises(InputError, match=match):
            loader(name, **arguments)


def test_events_cannot_be_shifted_as_images_can(small):
    with pytest.raises(InputError, match=r"^shift: expected none, since nmnist has events"):
        load_test("nmnist:noise=1", small[0])


def test_all_of_digits_is_its_two_parts_joined():
    everything, splits = load_all("digits"), load("digits")
    assert len(everything) == 1797
    assert torch.equal(everything.images[-360:], splits.test.images)
    assert everything.shape == splits.train.shape == (1, 8, 8)


@pytest.fixture(scope="module")
def real():
    """All 1,100 real recordings at 5 ms."""
    if not os.environ.get("TSNN_UQ_DATA"):
        pytest.skip("TSNN_UQ_DATA is not set")
    try:
        everything = load_all("nmnist", bin_ms=5.0)
    except InputError as error:
        pytest.skip(str(error))
    if len(everything) != 1100:
        pytest.skip("this is not the N-MNIST of 1,000 and 100 recordings")
    return everything


def test_the_real_recordings_show_the_digits_of_mnist_upright(real, need_files):
    """Each recording shows its own image, better than the mirrored or turned one: their pictures correlate."""
    mnist = load_all("mnist", need_files("mnist"))
    images = torch.cat([mnist.images[:1000], mnist.images[60_000:60_100]])
    assert torch.equal(real.labels, torch.cat([mnist.labels[:1000], mnist.labels[60_000:60_100]]))
    picture = unpack_spikes(real.images, 2312).view(1100, 62, 2, 34, 34).sum((1, 2))[:, 3:31, 3:31]

    def agreement(x: torch.Tensor) -> float:
        pairs = torch.stack([picture.flatten(1), x.flatten(1)])
        centred = pairs - pairs.mean(-1, keepdim=True)
        return torch.nn.functional.cosine_similarity(*centred, dim=-1).mean().item()

    upright = agreement(images)
    assert upright > 0.6
    for wrong in (images.flip(-1), images.flip(-2), images.transpose(-1, -2), images.roll(1, 0)):
        assert agreement(wrong) < upright - 0.2


def test_the_small_set_is_split_by_hundreds(real):
    splits = load("nmnist", bin_ms=5.0)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [900, 100, 100]
    assert keys(splits.train, splits.validation, splits.test) == keys(real)
    assert splits.train.skipped == ()
