"""What every test shares: an explicit generator, one thread, and Hypothesis without a stopwatch."""

from __future__ import annotations

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


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh generator with a fixed seed."""
    return torch.Generator().manual_seed(0)
