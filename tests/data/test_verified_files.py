from __future__ import annotations

import gzip
import hashlib
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pooch
import pytest

from tsnn_uq.checks import InputError
from tsnn_uq.data import SOURCES, data_folder, fetch, load_test, locate


def states(name, folder):
    return [found.state for found in locate(name, folder)]


def test_the_argument_goes_before_the_variable_and_that_before_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TSNN_UQ_DATA", str(tmp_path))
    assert data_folder("elsewhere") == Path("elsewhere")
    assert data_folder() == tmp_path
    for unset in (partial(monkeypatch.setenv, "TSNN_UQ_DATA", ""), partial(monkeypatch.delenv, "TSNN_UQ_DATA")):
        unset()
        assert data_folder() == Path(pooch.os_cache("tsnn-uq"))


@pytest.mark.parametrize("place", ["", "tiny", "TINY/raw"])
@pytest.mark.parametrize(
    ("pack", "suffix"),
    [(bytes, ""), (gzip.compress, ".gz"), (partial(gzip.compress, compresslevel=1), ".gz"), (gzip.compress, "")],
)
def test_every_usual_layout_is_found(tmp_path, tiny, place, pack, suffix):
    assert states("tiny", tmp_path) == ["missing"] * 4
    tiny.write(tmp_path / place, pack, suffix)
    found = locate("tiny", tmp_path)
    assert [(one.file, one.state, one.problem) for one in found] == [(f, "verified", "") for f in tiny.source.files]
    assert [one.path for one in found] == [tmp_path / place / f"{f.name}{suffix}" for f in tiny.source.files]
    assert fetch("tiny", tmp_path) == [one.path for one in found]


def test_digits_have_no_files(tmp_path):
    assert locate("digits", tmp_path) == []
    assert fetch("digits", tmp_path) == []


def test_bare_files_belong_to_the_set_whose_hashes_they_have(tmp_path, register):
    one, other = register("one", seed=1), register("other", seed=2)
    one.write(tmp_path)
    assert states("one", tmp_path) == ["verified"] * 4
    assert states("other", tmp_path) == ["missing"] * 4
    other.write(tmp_path / "other")
    assert states("other", tmp_path) == ["verified"] * 4


def test_another_sets_files_under_this_ones_name_are_an_error(tmp_path, register):
    register("one", seed=1).write(tmp_path / "other")
    register("other", seed=2)
    assert states("other", tmp_path) == ["damaged"] * 4


def test_a_damaged_file_is_told_and_left_alone(tmp_path, tiny):
    tiny.write(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte"
    spoilt = path.read_bytes()[:-1] + b"?"
    path.write_bytes(spoilt)
    assert states("tiny", tmp_path) == ["verified", "verified", "damaged", "verified"]
    wanted = tiny.source.test[0].sha256[:12]
    match = rf"^{path}: expected tiny's t10k-images-idx3-ubyte \(SHA-256 {wanted}\.\.\.\)"
    with pytest.raises(InputError, match=match):
        fetch("tiny", tmp_path)
    assert path.read_bytes() == spoilt


def test_an_intact_copy_makes_up_for_a_damaged_one(tmp_path, tiny):
    tiny.write(tmp_path / "tiny", lambda content: content[:-1])
    tiny.write(tmp_path, lambda content: gzip.compress(content)[:-5], ".gz")
    assert states("tiny", tmp_path) == ["damaged"] * 4
    tiny.write(tmp_path)
    assert states("tiny", tmp_path) == ["verified"] * 4


def test_an_unknown_name_gets_a_suggestion(tmp_path):
    with pytest.raises(InputError, match=r"^data set: expected one of"):
        locate("mnits", tmp_path)


def test_without_a_connection_it_says_soon_and_in_one_line_what_to_do(tmp_path, tiny):
    began = time.monotonic()
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte is not in .* failed \(ConnectionError\)") as caught:
        load_test("tiny", tmp_path)
    assert time.monotonic() - began < 10
    assert str(caught.value).endswith(
        f"; place the file in {tmp_path}/tiny or set TSNN_UQ_DATA to a folder that has it"
    )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tiny").exists()


@pytest.fixture
def mirror(tmp_path):
    """An HTTP server on this machine: (its folder, its address)."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_missing_files_are_fetched_verified_and_put_into_place(tmp_path, register, mirror):
    folder, url = mirror
    tiny = register(url=url)
    tiny.write(folder, gzip.compress, ".gz")
    tiny.write(tmp_path, files=tiny.source.train)
    fetched = fetch("tiny", tmp_path)
    assert [path.parent.name for path in fetched] == [tmp_path.name] * 2 + ["tiny"] * 2
    assert [path.read_bytes() for path in fetched] == [tiny.content[file.name] for file in tiny.source.files]
    assert len(load_test("tiny", tmp_path)) == 5
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == [file.name for file in tiny.source.test]


def test_progress_is_in_bytes_of_what_is_fetched(tmp_path, register, mirror):
    folder, url = mirror
    tiny = register(url=url)
    tiny.write(folder, gzip.compress, ".gz")
    tiny.write(tmp_path, files=tiny.source.train)
    told = []
    fetch("tiny", tmp_path, lambda *call: told.append(call))
    sizes = {f"{file.name}.gz": (folder / f"{file.name}.gz").stat().st_size for file in tiny.source.test}
    assert list(dict.fromkeys(name for name, _, _ in told)) == list(sizes)
    assert all(0 < done <= total == sizes[name] for name, done, total in told)
    assert {name for name, done, total in told if done == total} == {*sizes}


def test_a_folder_that_cannot_be_written_is_told(tmp_path, register, mirror):
    folder, url = mirror
    register(url=url).write(folder, gzip.compress, ".gz")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/tiny/train-images.*cannot write here"):
        fetch("tiny", tmp_path / "file")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda content: gzip.compress(content[:-1]), "the mirror sent a damaged file"),
        (lambda content: gzip.compress(content)[:-9], "the mirror sent a damaged file"),
        (lambda content: b"<html>log in first</html>", "the mirror sent a damaged file"),
        (None, "HTTPError"),
    ],
)
def test_what_the_mirror_spoilt_is_never_put_into_place(tmp_path, register, mirror, spoil, why):
    folder, url = mirror
    tiny = register(url=url)
    if spoil is not None:
        tiny.write(folder, spoil, ".gz")
    with pytest.raises(InputError, match=rf"^tiny: train-images.* failed \({why}\); place the file in"):
        fetch("tiny", tmp_path)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(("name", "parts"), [("mnist", ("train", "test")), ("fashion-mnist", ("test",))])
def test_the_real_files_have_the_registered_sizes_and_hashes(need_files, name, parts):
    need_files(name, parts)
    files = [file for part in parts for file in getattr(SOURCES[name], part)]
    paths = [found.path for found in locate(name) if found.file in files]
    for file, path in zip(files, paths, strict=True):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256)
