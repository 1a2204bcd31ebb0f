"""``kill -9`` in the middle of `fit` on a Dataset or a DataLoader: the same call goes on and gives the same bits."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.utils.data import DataLoader

from tests.helpers.processes import kill_when, started
from tests.helpers.training import TINY, Noisy, images, mlp, same, shifted
from tsnn_uq.training import fit

FORMS: dict[str, Any] = {
    "Dataset": lambda: Noisy(*images(24)),
    "DataLoader": lambda: DataLoader(Noisy(*images(24)), 6, shuffle=True, num_workers=2),
}
STEPS_PER_EPOCH = 4


def train(form: str, pause: float = 0.0, **options: Any) -> tuple[nn.Module, list[int]]:
    """A trained network, and the steps that were done."""
    model, steps = mlp(), []

    def progress(done: int, _: int) -> None:
        steps.append(done)
        time.sleep(pause)

    options |= {"augment": shifted, "settings": replace(TINY, epochs=4), "progress": progress}
    fit(model, FORMS[form](), seed=0, **options)
    return model, steps


def written(path: Path) -> float:
    """When a checkpoint was written; 0 if there is none."""
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="kills a process with its workers, as POSIX systems can")
@pytest.mark.parametrize("form", FORMS)
def test_a_killed_training_ends_with_the_same_bits(tmp_path, form):
    path, writings = tmp_path / "checkpoint", set()

    def written_twice() -> bool:
        writings.add(written(path))
        return len(writings - {0}) == 2

    with started(partial(train, form, pause=0.05, checkpoint=path, checkpoint_seconds=0)) as process:
        kill_when(process, written_twice)
    resumed, steps = train(form, checkpoint=path, checkpoint_seconds=0)
    assert 2 < steps[0] <= steps[-1] == 4 * STEPS_PER_EPOCH
    assert form == "Dataset" or steps[0] % STEPS_PER_EPOCH == 1  # from the beginning of an epoch
    assert same(resumed, train(form)[0])
