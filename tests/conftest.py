"""What every test shares: an explicit generator, commands, one thread, and how many examples Hypothesis tries.

``pytest --cpu FILE`` writes the processor seconds of each test to a CSV file, those of its processes included.
"""

from __future__ import annotations

import csv
import gc
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import xdist
from _pytest.doctest import DoctestModule

if TYPE_CHECKING:
    import torch

CPU_SECONDS: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu", type=Path, help="write the processor seconds of each test to this CSV file (without -n)")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import what all tests need, but not where workers of xdist do all the work and wait for this process."""
    if xdist.is_xdist_controller(session):
        return
    import torch
    from hypothesis import settings

    with warnings.catch_warnings():
        # torchmetrics imports scienceplots where it is installed, and that calls a function matplotlib deprecates.
        warnings.simplefilter("ignore")
        import torchmetrics  # noqa: F401
    torch.set_num_threads(1)
    settings.register_profile("usual", deadline=None, max_examples=25)
    settings.register_profile("thorough", deadline=None, max_examples=500)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))


def cpu_seconds() -> float:
    """Processor seconds of this process and of those it has waited for."""
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Count what a test takes, with the fixtures it is the first to need."""
    before = cpu_seconds()
    result = yield
    CPU_SECONDS[item.nodeid] += cpu_seconds() - before
    return result


def pytest_sessionfinish(session: pytest.Session) -> None:
    if file := session.config.getoption("cpu", None):
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([("test", "cpu_seconds"), *CPU_SECONDS.most_common()])


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Tests have no doctests: to look for them takes a third of the time that collection takes."""
    return [collector for collector in (yield) if not isinstance(collector, DoctestModule)]


@cache
def shared_place(file: Path) -> str:
    """The name of the nearest folder with fixtures of its own, or of the file if there is none."""
    folders = (folder for folder in file.parents if folder != Path(__file__).parent)
    return next((folder for folder in folders if (folder / "conftest.py").exists()), file).name


def order(item: pytest.Item) -> tuple[bool, int]:
    """Slow tests come first. Then one worker of xdist compiles kernels, while the other has tests that need none."""
    is_test = item.path.is_relative_to(Path(__file__).parent)  # and no doctest
    folders = ("fast", "metrics", "figures") if is_test else ()
    places = [place for place, folder in enumerate(folders) if folder in item.path.parts]
    return item.get_closest_marker("slow") is None, min(places, default=3)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests into their order, and give those that share fixtures, of a file or a folder, to one worker of xdist.

    Tests with real data are slow.
    """
    for item in items:
        if "need_files" in item.fixturenames:
            item.add_marker(pytest.mark.slow)
    items.sort(key=order)
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(shared_place(item.path)))


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what was imported and collected: a quarter of a million objects that stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh generator with a fixed seed."""
    import torch

    return torch.Generator().manual_seed(0)


@pytest.fixture
def typed(monkeypatch, capsys):
    """Run a command or a script in this process as a shell would; gives exit code, standard output and error.

    Called with what starts it, and the words that were typed, its name first.
    """

    def run(start, *words):
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        with pytest.raises(SystemExit) as stop:
            start()
        output = capsys.readouterr()
        return stop.value.code or 0, output.out, output.err

    return run


@pytest.fixture(scope="session", autouse=True)
def _spared() -> Generator[Callable[..., None], None, None]:
    """Spare what takes longer than a small run: to render figures into files, and to wait for the disk."""
    from matplotlib.figure import Figure

    save = Figure.savefig

    def save_in_memory_alone(figure: Figure, file: Any, **options: Any) -> None:
        if options.get("format") is None:
            Path(file).touch()
        else:
            save(figure, file, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save_in_memory_alone)
        patch.setattr(os, "fsync", os.fstat)
        yield save


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch, _spared: Callable[..., None]) -> None:
    """Figures are rendered into their files."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", _spared)
