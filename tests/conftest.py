"""What every test shares: an explicit generator, commands, one thread, and Hypothesis without a stopwatch."""

from __future__ import annotations

import gc
import sys
import warnings

import pytest
import torch
from hypothesis import settings

with warnings.catch_warnings():
    # torchmetrics imports scienceplots where it is installed, and that calls a function matplotlib deprecates.
    warnings.simplefilter("ignore")
    import torchmetrics  # noqa: F401

torch.set_num_threads(1)
settings.register_profile("tsnn_uq", deadline=None)
settings.load_profile("tsnn_uq")


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
