from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.training import TINY, images, method, network, same
from tsnn_uq.checks import InputError
from tsnn_uq.files import write_tensors
from tsnn_uq.training import METHODS, fit
from tsnn_uq.training.checkpoint import load_checkpoint, save_checkpoint

FINGERPRINT = {"seed": 0}


def state(name="float", seed=0):
    """A network, its optimizer, its method and its mask generator, before the first step."""
    model, way = network(seed=seed), method(name)
    way.start(model, images()[0])
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    return model, optimizer, way, torch.Generator().manual_seed(seed)


def train_a_step(model, optimizer, way):
    pixels, labels = images()
    way.loss(model.eval()(pixels).mean(0)[None], labels, torch.arange(16)).backward()
    optimizer.step()
    way.after_step(model, 0.5)


@pytest.mark.parametrize("name", METHODS)
def test_all_state_comes_back(tmp_path, name):
    saved = state(name)
    train_a_step(*saved[:3])
    saved[3].manual_seed(5)
    save_checkpoint(tmp_path / "file", *saved, {"step": 1, "fingerprint": FINGERPRINT})
    loaded = state(name, seed=1)
    assert not same(loaded[0], saved[0])
    header = load_checkpoint(tmp_path / "file", *loaded, FINGERPRINT)
    assert header["step"] == 1
    assert same(loaded[0], saved[0])
    assert torch.equal(loaded[3].get_state(), saved[3].get_state())
    for one, other in zip(
        loaded[1].state_dict()["state"].values(), saved[1].state_dict()["state"].values(), strict=True
    ):
        assert all(torch.equal(one[slot], other[slot]) for slot in other)
    ours, theirs = (each[2].state_dict() for each in (loaded, saved))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert (len(theirs) > 0) == (name in ("indirect", "distill"))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    save_checkpoint(tmp_path / "file", *state(), {"fingerprint": {"seed": 1}})
    with pytest.raises(InputError, match="file: expected a checkpoint of the same"):
        load_checkpoint(tmp_path / "file", *state(), FINGERPRINT)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    save_checkpoint(tmp_path / "file", *state(), {"fingerprint": FINGERPRINT})
    _, optimizer, way, generator = state()
    match = "file: expected a checkpoint of this network"
    with pytest.raises(InputError, match=match):
        load_checkpoint(tmp_path / "file", network(sizes=(16, 9, 3)), optimizer, way, generator, FINGERPRINT)


def test_a_checkpoint_without_its_parts_is_refused(tmp_path):
    tensors = {f"model.{name}": value for name, value in network().state_dict().items()}
    header = {"kind": "checkpoint", "fingerprint": FINGERPRINT}
    write_tensors(tmp_path / "file", tensors, header)
    with pytest.raises(InputError, match="file: expected a checkpoint of this network"):
        load_checkpoint(tmp_path / "file", *state(), FINGERPRINT)
    write_tensors(tmp_path / "file", tensors | {"generator": torch.zeros(3)}, header)
    with pytest.raises(InputError, match="file: expected a checkpoint of this network"):
        load_checkpoint(tmp_path / "file", *state(), FINGERPRINT)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "foreign"])
def test_a_damaged_file_is_one_line_and_stays_for_the_user(tmp_path, damage):
    path = tmp_path / "checkpoint.safetensors"
    fit(network(), images(), seed=0, settings=TINY, checkpoint=path, checkpoint_seconds=0)
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-100], "empty": b"", "text": b"hello"}.get(damage, content))
    if damage == "foreign":
        save_file({"weight": torch.ones(2)}, path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"checkpoint.safetensors: expected a checkpoint file") as error:
        fit(network(), images(), seed=0, settings=TINY, checkpoint=path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
