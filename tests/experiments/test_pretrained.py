"""Shipped networks are whole, are found by name, and nothing else is taken for one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tsnn_uq
from tsnn_uq.checks import InputError
from tsnn_uq.experiments.storage import (
    CHECKOUT,
    RESULT,
    VARIABLE,
    WEIGHTS,
    find_run,
    pretrained_folder,
    pretrained_names,
    read_row,
)

TERNARY = [name for name in pretrained_names() if not name.endswith("float")]


@pytest.mark.parametrize("name", pretrained_names())
def test_every_shipped_network_loads_and_has_its_row(name, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    network = tsnn_uq.load_pretrained(name)
    assert not network.training
    row = read_row(pretrained_folder(name))
    assert name == "-".join(filter(None, [row["dataset"], row["family"], *_part(row), row["method"]]))
    assert row["accuracy"] > 0.8


def _part(row):
    return [] if row["quantized_part"] in ("all", "none") else [row["quantized_part"]]


@pytest.mark.parametrize("name", TERNARY)
def test_ternary_weights_are_shipped_at_two_bits(name):
    weights = tsnn_uq.load_pretrained(name).state_dict().values()
    size = (pretrained_folder(name) / WEIGHTS).stat().st_size
    assert size < 0.4 * sum(weight.numel() for weight in weights)  # bytes; a quarter, and what is not ternary


def test_no_more_is_shipped_than_a_checkout_can_bear():
    assert sum(path.stat().st_size for path in CHECKOUT.rglob("*.*")) < 25e6


def test_a_folder_of_ones_own_is_looked_in_and_damage_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    name = TERNARY[0]
    with pytest.raises(InputError, match=f"{name}: expected .*missing .*{VARIABLE}"):
        tsnn_uq.load_pretrained(name)
    shutil.copytree(CHECKOUT, tmp_path, dirs_exist_ok=True)
    folder = pretrained_folder(name)
    assert folder.is_relative_to(tmp_path)
    (folder / RESULT).write_bytes(b"{}")
    with pytest.raises(InputError, match="expected the shipped file"):
        tsnn_uq.load_pretrained(name)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(InputError, match="name: expected one of"):
        tsnn_uq.load_pretrained("cifar100")


def test_a_folder_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = Path(TERNARY[0])
    assert find_run(name) == pretrained_folder(str(name))
    assert find_run(Path("runs/else")) == Path("runs/else")
    name.mkdir()
    assert find_run(name) == name
