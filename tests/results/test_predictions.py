"""What networks predicted, by name and by file: what is taken, and what is refused in one line."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from tsnn_uq.checks import InputError
from tsnn_uq.results.prediction_files import predictions_from_arrays, read_prediction_file, write_prediction_file
from tsnn_uq.results.predictions import NamedPredictions, Part, Predictions

S, T, N, M, C = 4, 3, 20, 7, 5


def softmax(values):
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def arrays(rng):
    """Everything that a file may hold."""
    return {
        "logits": rng.normal(size=(S, N, C)),
        "labels": rng.integers(0, C, N),
        "features": rng.normal(size=(N, 6)).astype(np.float32),
        "validation_probs": softmax(rng.normal(size=(S, T, M, C))).astype(np.float32),
        "validation_labels": rng.integers(0, C, M).astype(np.uint8),
        "train_probs": softmax(rng.normal(size=(M, C))),
        "train_labels": rng.integers(0, C, M).astype(np.int16),
        "train_features": rng.normal(size=(M, 6)),
        "foreign_letters_probs": softmax(rng.normal(size=(S, M, C))),
        "foreign_letters_features": rng.normal(size=(M, 6)),
        "foreign_more_letters_logits": rng.normal(size=(M, C)),
        "inputs": rng.random((N, 1, 8, 8)),
        "answers": rng.integers(0, 9, (N, C)),
        "energy_pj": np.array(12.5),
        "storage_bytes": np.array([300]),
    }


def one(probs=None, labels=None):
    probs = torch.full((S, N, C), 1 / C) if probs is None else probs
    return Predictions(Part(probs, torch.zeros(N, dtype=torch.long) if labels is None else labels))


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_file_gives_its_arrays(arrays, suffix, tmp_path):
    path = tmp_path / f"some.{suffix}"
    np.savez(path, **arrays) if suffix == "npz" else save_file(arrays, path)
    found = read_prediction_file(path)
    np.testing.assert_allclose(found.test.probs, softmax(arrays["logits"]), rtol=1e-12)
    np.testing.assert_allclose(found.test.logits, arrays["logits"].mean(0), rtol=1e-12)
    assert found.test.labels.tolist() == arrays["labels"].tolist()
    assert found.test.over_time is None
    np.testing.assert_array_equal(found.validation.over_time, arrays["validation_probs"])
    np.testing.assert_array_equal(found.validation.probs, arrays["validation_probs"][:, -1])
    assert (found.validation.labels.dtype, found.validation.logits) == (torch.int64, None)
    assert found.train.probs.shape == (1, M, C)
    np.testing.assert_array_equal(found.train.features, arrays["train_features"])
    assert list(found.foreign) == ["letters", "more_letters"]
    np.testing.assert_allclose(found.foreign["more_letters"].probs[0], softmax(arrays["foreign_more_letters_logits"]))
    np.testing.assert_array_equal(found.inputs, arrays["inputs"])
    np.testing.assert_array_equal(found.answers, arrays["answers"])
    assert found.costs == {"energy_pj": 12.5, "storage_bytes": 300.0}


def test_what_is_written_is_read_again(arrays, tmp_path):
    first = predictions_from_arrays(arrays)
    write_prediction_file(tmp_path / "a.safetensors", first)
    second = read_prediction_file(tmp_path / "a.safetensors")
    assert list(first.parts()) == list(second.parts())
    for name, part in first.parts().items():
        for field in ("probs", "labels", "logits", "features", "over_time"):
            ours, theirs = getattr(part, field), getattr(second.parts()[name], field)
            assert (ours is None) == (theirs is None), (name, field)
            assert ours is None or (ours.dtype == theirs.dtype and torch.equal(ours, theirs)), (name, field)
    assert second.costs == first.costs
    with pytest.raises(InputError, match=r"expected a name that ends in \.safetensors"):
        write_prediction_file(tmp_path / "a.npz", first)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
def test_any_precision_is_taken(dtype, rng):
    probs = softmax(rng.normal(size=(N, C)))
    found = predictions_from_arrays({"probs": probs.astype(dtype), "labels": np.zeros(N, ">i4")})
    assert found.test.probs.dtype == (torch.float64 if np.dtype(dtype).itemsize >= 8 else torch.float32)
    np.testing.assert_allclose(found.test.probs[0], probs, atol=1e-3)


def changed(**changes):
    """A change of the arrays: another one in place of one, or none at all."""
    return lambda arrays: {name: array for name, array in (arrays | changes).items() if array is not None}


BAD = [
    (changed(logits=None), "probs: expected probs or logits beside labels"),
    (changed(labels=None), "labels: expected class numbers"),
    (changed(validation_labels=None), "validation_labels: expected class numbers"),
    (changed(validation_probs=None), "validation_probs: expected validation_probs or validation_logits"),
    (changed(labels=np.zeros(N - 1, int)), f"labels: expected {N} labels"),
    (changed(labels=np.full(N, C)), f"labels: expected labels from 0 to {C - 1}"),
    (changed(labels=np.full(N, -1)), "labels: expected labels from 0"),
    (changed(labels=np.zeros(N)), "labels: expected whole class numbers"),
    (changed(labels=np.array(["a"] * N)), "labels: expected numbers"),
    (changed(labels=np.zeros((N, 1), int)), r"labels: expected a tensor of shape \[N\]"),
    (changed(logits=None, probs=np.full((S, N, C), 0.21)), "probs: expected rows that sum to 1"),
    (changed(logits=None, probs=np.full((S, N, C), np.nan)), "probs: expected finite numbers"),
    (changed(logits=np.full((S, N, C), np.inf)), "logits: expected finite numbers"),
    (changed(logits=None, probs=np.full((S, N, C), 3)), "probs: expected floating-point numbers"),
    (changed(logits=None, probs=np.full((S, N, C), 3.0)), "probs: expected probabilities"),
    (changed(logits=None, probs=np.full(N, 1.0)), "probs: expected"),
    (changed(logits=None, probs=np.full((N, 1), 1.0)), "probs: expected .* two classes"),
    (changed(logits=None, probs=np.ones((0, N, C))), "probs: expected at least one sample"),
    (changed(validation_probs=np.full((M, 8), 0.125)), "validation_probs: expected 5 classes"),
    (changed(foreign_letters_probs=np.full((M, 4), 0.25)), "foreign_letters_probs: expected 5 classes"),
    (changed(foreign_letters_features=np.ones((M + 1, 2))), "foreign_letters_features: expected"),
    (changed(features=np.ones(N)), "features: expected"),
    (changed(probs=np.full((S, N - 1, C), 0.2)), "expected"),
    (changed(inputs=np.ones((N - 1, 8))), "inputs: expected"),
    (changed(answers=np.ones((N, C + 1))), "answers: expected counts"),
    (changed(energy_pj=np.ones(2)), "energy_pj: expected a single number"),
    (changed(valdation_probs=np.ones(2)), "did you mean 'validation_probs'"),
    (changed(foreign_probs=np.ones(2)), "key: expected one of"),
    (changed(test_labels=np.zeros(N, int)), "expected one array labels for the test inputs"),
    (lambda _: {}, "got no array"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_arrays_are_refused_in_one_line(arrays, change, message, tmp_path):
    np.savez(tmp_path / "bad.npz", **change(arrays))
    with pytest.raises(InputError, match=message) as error:
        read_prediction_file(tmp_path / "bad.npz")
    assert str(error.value).startswith(f"{tmp_path / 'bad.npz'}: ")
    assert len(str(error.value).splitlines()) == 1


class Bomb:
    """Leaves a file behind if it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def damaged_files(folder, arrays):
    """By name, what a user may pass by mistake, and what another may have made on purpose."""
    np.savez(folder / "whole.npz", **arrays)
    whole = (folder / "whole.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "flipped.npz").write_bytes(whole[:200] + bytes(byte ^ 255 for byte in whole[200:260]) + whole[260:])
    (folder / "empty.npz").write_bytes(b"")
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "text.npz").write_text("float, ternary")
    (folder / "text.safetensors").write_text("float, ternary")
    np.save(folder / "single.npy", arrays["labels"])
    (folder / "single.npy").rename(folder / "single.npz")
    (folder / "pickle.npz").write_bytes(pickle.dumps(Bomb(folder / "exploded")))
    objects = np.array([Bomb(folder / "exploded")], dtype=object)
    np.savez(folder / "objects.npz", probs=objects, labels=arrays["labels"])
    with zipfile.ZipFile(folder / "others.npz", "w") as archive:
        archive.writestr("probs.txt", "0.1")
    (folder / "probs.csv").write_text("0.1")
    (folder / "folder.npz").mkdir()
    names = ["cut", "flipped", "empty", "text", "single", "pickle", "objects", "others", "absent", "folder"]
    return [*(f"{name}.npz" for name in names), "empty.safetensors", "text.safetensors", "probs.csv"]


def test_damaged_and_foreign_files_are_refused_in_one_line(arrays, tmp_path):
    for name in damaged_files(tmp_path, arrays):
        with pytest.raises(InputError, match="expected") as error:
            read_prediction_file(tmp_path / name)
        assert len(str(error.value).splitlines()) == 1, name
    assert not (tmp_path / "exploded").exists()


def test_half_precision_of_torch_is_taken(tmp_path):
    tensors = {"probs": torch.full((N, 4), 0.25, dtype=torch.bfloat16), "labels": torch.zeros(N, dtype=torch.uint8)}
    save_torch_file(tensors, tmp_path / "a.safetensors")
    assert read_prediction_file(tmp_path / "a.safetensors").test.probs.dtype == torch.float32


def test_names_are_free_and_the_first_is_the_reference():
    both = NamedPredictions({"ours, ternary": one(), "float": [one(), one()]})
    assert both.names == ("ours, ternary", "float")
    assert (both.reference, both.others) == ("ours, ternary", ("float",))
    assert NamedPredictions(both.members, reference="float").others == ("ours, ternary",)
    assert both.file_name == "ours-ternary-float"
    assert (both.samples, len(both.labels)) == (S, N)
    assert both.select(["float"]).names == ("float",)
    assert both.select(["float"], seed=1).first()["float"] is both.members["float"][1]
    with pytest.raises(InputError, match="seed: expected 0 to 0 for ours"):
        both.select(seed=1)
    with pytest.raises(InputError, match="did you mean 'float'"):
        NamedPredictions(both.members, reference="flaot")
    with pytest.raises(InputError, match="at least two to compare"):
        _ = NamedPredictions({"mine": one()}).others


def test_networks_with_other_test_inputs_are_refused():
    labels = torch.zeros(N, dtype=torch.long)
    labels[:3] = 1
    few = Predictions(Part(torch.full((S, N - 1, C), 1 / C), torch.zeros(N - 1, dtype=torch.long)))
    wide = Predictions(Part(torch.full((S, N, C + 1), 1 / (C + 1)), torch.zeros(N, dtype=torch.long)))
    for other, message in ((few, f"the {N} test inputs"), (one(labels=labels), "3 of 20 labels"), (wide, "5 classes")):
        with pytest.raises(InputError, match=message):
            NamedPredictions({"a": one(), "b": other})
        with pytest.raises(InputError, match=message):
            NamedPredictions({"a": [one(), other]})
    with pytest.raises(InputError, match="at least one network"):
        NamedPredictions({})
    with pytest.raises(InputError, match="at least one network"):
        NamedPredictions({"a": []})


def test_what_is_not_there_is_named_with_what_gives_it():
    named = NamedPredictions({"a": one()})
    with pytest.raises(InputError, match="foreign_letters_probs"):
        named.foreign("letters")
    with pytest.raises(InputError, match=r"validation: .*validation_probs"):
        named.first()["a"].part("validation")
