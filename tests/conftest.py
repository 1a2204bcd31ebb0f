"""What every test shares: an explicit generator, commands, one thread, and how many examples Hypothesis tries."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from pathlib import Path

import pytest
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, and give tests that share fixtures, of a file or a folder, to one worker of xdist."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            folder = item.path.parent
            in_folder = folder != Path(__file__).parent and (folder / "conftest.py").exists()
            item.add_marker(pytest.mark.xdist_group((folder if in_folder else item.path).name))


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what was imported and collected: a quarter of a million objects that stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh generator with a fixed seed."""
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


@pytest.fixture
def quick_figures(monkeypatch):
    """Figures that are there, and empty: to render them takes longer than a small run."""

    def save(_, path):
        files = tuple(path.with_name(f"{path.name}.{suffix}") for suffix in ("pdf", "png"))
        for file in files:
            file.touch()
        return files

    monkeypatch.setattr("tsnn_uq.results.figures.save_figure", save)
