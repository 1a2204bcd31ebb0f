from __future__ import annotations

import importlib
import inspect
import json
import math
import os
import pkgutil
import re
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

import tsnn_uq
from tsnn_uq.bayes import infer, load_draws, load_posterior, save_draws, save_posterior, ternary_posterior
from tsnn_uq.checks import InputError
from tsnn_uq.files import (
    as_path,
    atomic_path,
    csv_text,
    read_json,
    read_tensors,
    read_toml,
    remove_leftovers,
    require_writable,
    visible,
    write_json,
    write_tensors,
    write_text,
    write_toml,
)
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.quantization.weight_files import load_weights, save_weights
from tsnn_uq.training import FitSettings, fit


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_and_replaces_the_old_one(tmp_path):
    target = tmp_path / "new" / "folder" / "file.txt"
    write_text(target, "old")
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".txt"
        temporary.write_text("half of the n")
        assert target.read_text() == "old"
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert names_in(target.parent) == ["file.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_on_failure_the_old_file_stays_and_nothing_else(tmp_path, error):
    target = tmp_path / "file"
    write_text(target, "old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail()
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["file"]


def test_a_killed_process_leaves_the_old_file_and_a_remnant_that_can_be_removed(tmp_path):
    write_text(tmp_path / "file.txt", "old")
    program = (
        "import os, sys; from pathlib import Path; from tsnn_uq.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "file.txt")], check=False).returncode == 9
    assert (tmp_path / "file.txt").read_text() == "old"
    assert len(names_in(tmp_path)) == 2
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == ["file.txt"]
    remove_leftovers(tmp_path / "absent")


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / "ordinary").touch()
    write_text(tmp_path / "ours", "text")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "ours")}
    assert len(modes) == 1


def test_where_nothing_can_be_written_is_said_at_once(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"file/x: cannot write here \(.*\); choose another folder"):
        write_text(tmp_path / "file" / "x", "text")
    with pytest.raises(InputError, match=r"cannot write here"):
        require_writable(tmp_path / "file" / "folder")
    require_writable(tmp_path / "folder")
    assert names_in(tmp_path / "folder") == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_is_one_line(tmp_path, error):
    match = r"file: writing failed \(No space left on device\); free some space or choose another folder$"
    with pytest.raises(InputError, match=match), atomic_path(tmp_path / "file"):
        raise error
    assert names_in(tmp_path) == []


def test_hidden_files_and_what_is_in_hidden_folders_are_not_seen(tmp_path):
    folder = tmp_path / ".hidden" / "data"
    for name in ("b.bin", "a.bin", "._a.bin", ".DS_Store", "7/c.bin", ".7/d.bin", "7/._c.bin"):
        write_text(folder / name, "")
    assert visible(folder) == [folder / "7", folder / "a.bin", folder / "b.bin"]
    assert visible(folder, "*.bin") == [folder / "a.bin", folder / "b.bin"]
    assert visible(folder, "*/*.bin") == [folder / "7" / "c.bin"]
    assert visible(tmp_path / "absent") == []


@pytest.mark.parametrize("system", ["posix", "nt"])
def test_lines_end_alike_on_every_system(tmp_path, monkeypatch, system):
    monkeypatch.setattr("os.linesep", "\r\n" if system == "nt" else "\n")  # what pandas goes by
    table = pd.DataFrame({"x": [0.1, math.nan], "name": ["a", "\u00e4"]})
    write_text(tmp_path / "file", csv_text(table))
    assert (tmp_path / "file").read_bytes() == "x,name\n0.1,a\n,\u00e4\n".encode()


values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=3), values, max_size=3))
def test_json_and_toml_come_back(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("files")
    write_json(folder / "value.json", value)
    assert read_json(folder / "value.json") == value
    write_toml(folder / "value.toml", value)
    assert read_toml(folder / "value.toml") == value


def test_infinity_comes_back_from_json(tmp_path):
    write_json(tmp_path / "file", [math.inf, -math.inf, math.nan])
    back = read_json(tmp_path / "file")
    assert back[:2] == [math.inf, -math.inf]
    assert math.isnan(back[2])


@pytest.mark.parametrize(("read", "kind"), [(read_json, "JSON"), (read_toml, "TOML")])
def test_a_missing_or_damaged_text_file_is_one_line(tmp_path, read, kind):
    with pytest.raises(InputError, match=rf"absent: expected a readable {kind} file; No such file") as missing:
        read(tmp_path / "absent")
    (tmp_path / "damaged").write_text('{"a": [1,\n\n')
    with pytest.raises(InputError, match=f"damaged: expected a {kind} file; it is damaged") as damaged:
        read(tmp_path / "damaged")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=f"binary: expected a {kind} file; it is damaged") as binary:
        read(tmp_path / "binary")
    assert not any("\n" in str(error.value) for error in (missing, damaged, binary))


def test_tensors_and_header_come_back(tmp_path):
    shared = torch.arange(6.0)
    tensors = {
        "all": shared,
        "view": shared[::2],
        "transposed": shared.reshape(2, 3).T,
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "truth": torch.tensor(True),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    write_tensors(tmp_path / "file", tensors, {"kind": "test", "deep": {"list": [1, "ä", None]}})
    back, header = read_tensors(tmp_path / "file", "test")
    assert header == {"kind": "test", "deep": {"list": [1, "ä", None]}}
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
        assert not back[name].requires_grad


def test_tensors_that_were_read_outlive_the_file(tmp_path):
    path = tmp_path / "file"
    write_tensors(path, {"x": torch.ones(1000)}, {"kind": "test"})
    back, _ = read_tensors(path, "test")
    write_tensors(path, {"x": torch.zeros(1000)}, {"kind": "test"})
    path.unlink()
    assert (back["x"] == 1).all()


@pytest.mark.parametrize("cut", [0, 7, 50, -1])
def test_a_truncated_file_of_tensors_is_one_line(tmp_path, cut):
    path = tmp_path / "file"
    write_tensors(path, {"x": torch.ones(100)}, {"kind": "test"})
    path.write_bytes(path.read_bytes()[:cut])
    match = "file: expected a test file; it is damaged"
    with pytest.raises(InputError, match=match) as error:
        read_tensors(path, "test")
    assert "\n" not in str(error.value)


def test_a_file_of_tensors_of_another_kind_is_refused(tmp_path):
    write_tensors(tmp_path / "ours", {"x": torch.ones(1)}, {"kind": "weights"})
    with pytest.raises(InputError, match="ours: expected a checkpoint file of tsnn-uq"):
        read_tensors(tmp_path / "ours", "checkpoint")
    save_file({"x": torch.ones(1)}, tmp_path / "theirs")
    with pytest.raises(InputError, match="theirs: expected a weights file of tsnn-uq"):
        read_tensors(tmp_path / "theirs", "weights")
    save_file({"x": torch.ones(1)}, tmp_path / "odd", metadata={"header": "{"})
    with pytest.raises(InputError, match="odd: expected a weights file; it is damaged"):
        read_tensors(tmp_path / "odd", "weights")
    with pytest.raises(InputError, match=r"absent: expected a weights file; there is none"):
        read_tensors(tmp_path / "absent", "weights")
    with pytest.raises(InputError, match="expected a weights file; it is damaged"):
        read_tensors(tmp_path, "weights")


def test_a_header_that_is_no_json_writes_nothing(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_tensors(tmp_path / "file", {}, {"kind": torch.ones(1)})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_tensors(tmp_path / "file", {}, {"loss": math.inf})
    assert names_in(tmp_path) == []


def test_text_is_utf8(tmp_path):
    write_json(tmp_path / "file", {"name": "Größe"})
    assert json.loads((tmp_path / "file").read_bytes().decode("utf-8")) == {"name": "Größe"}


def public_functions():
    """The functions and methods that the package's faces show, but for the command line's, which gets text anyway."""
    for info in pkgutil.walk_packages(tsnn_uq.__path__, "tsnn_uq."):
        if info.ispkg and info.name != "tsnn_uq.cli":
            module = importlib.import_module(info.name)
            for name in getattr(module, "__all__", ()):
                found = getattr(module, name)
                members = vars(found).items() if inspect.isclass(found) else [("", found)]
                for member, function in members:
                    function = getattr(function, "__func__", function)
                    if inspect.isfunction(function) and (not member.startswith("_")):
                        yield f"{info.name}.{name}.{member}".rstrip("."), function


def test_whatever_takes_a_path_takes_text_too():
    """What the annotations say is held to by mypy."""
    takers = set()
    for name, function in public_functions():
        for parameter in inspect.signature(function).parameters.values():
            if re.search(r"\bPath\b", str(parameter.annotation)):
                takers.add(name)
                assert re.search(r"str \| Path|Path \| str", str(parameter.annotation)), f"{name}: {parameter}"
    assert {"tsnn_uq.bayes.save_draws", "tsnn_uq.training.fit", "tsnn_uq.experiments.load_network"} <= takers


class Named(os.PathLike):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.mark.parametrize("kind", [str, Path, Named])
@pytest.mark.parametrize("base", ["~", None])
def test_a_path_may_be_text_or_begin_at_home(kind, base, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    at = lambda name: kind(os.path.join(base or tmp_path, name))  # noqa: E731
    write_json(at("a.json"), {"a": 1})
    write_toml(at("a.toml"), {"a": 2})
    write_text(at("a.txt"), "three")
    write_tensors(at("a.safetensors"), {"a": torch.ones(4)}, {"kind": "test"})
    assert read_json(at("a.json")) == {"a": 1}
    assert read_toml(at("a.toml")) == {"a": 2}
    assert (tmp_path / "a.txt").read_text() == "three"
    assert read_tensors(at("a.safetensors"), "test")[0]["a"].sum() == 4

    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    ternarize(network)
    freeze(network)
    save_weights(at("weights"), network, ternary=["1"], header={})
    assert torch.equal(load_weights(at("weights"))[0]["1.weight"], network[1].weight)
    save_draws(at("draws"), [network])
    assert torch.equal(load_draws(at("draws"), network)[0][0][1].weight, network[1].weight)
    posterior = ternary_posterior(network)
    save_posterior(at("posterior"), posterior)
    assert load_posterior(at("posterior"), network)[0].family == "ternary"

    images, labels = torch.rand(6, 4), torch.arange(6) % 3
    options = {"seed": 0, "settings": FitSettings(epochs=1, batch_size=2, weight_decay=0.0), "checkpoint_seconds": 0}
    fit(network, (images, labels), checkpoint=at("fit"), **options)
    assert (tmp_path / "fit").exists()
    infer(posterior, (images, labels), checkpoint=at("infer"), **options)
    assert (tmp_path / "infer").exists()
    remove_leftovers(at(""))
    require_writable(at("folder"))
    assert {path.name for path in visible(at(""))} >= {"a.json", "draws", "folder"}


def test_a_name_that_only_looks_like_somebodys_home_is_taken_as_it_is():
    assert as_path("~nobody-of-this-name/runs") == Path("~nobody-of-this-name/runs")
