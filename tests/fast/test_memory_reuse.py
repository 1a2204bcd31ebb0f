"""Memory that is kept: a step of training takes few new pages; afterwards all is as before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tsnn_uq.fast import memory_reuse

SCRIPT = """
import resource
from contextlib import nullcontext
import torch
from torch import nn
from tsnn_uq.fast.memory_reuse import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def new_pages(manager):
    with manager:
        network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.BatchNorm2d(16), nn.Conv2d(16, 2, 1))
        images = torch.ones(96, 1, 80, 80)  # tensors of 37 MB
        for step in range(5):
            if step == 3:
                before = faults()
            network(images).sum().backward()
        return faults() - before

before = new_pages(nullcontext())
with keep_freed_memory():
    with keep_freed_memory():  # a run in a run
        pass
    kept = new_pages(nullcontext())
print(before, kept, new_pages(nullcontext()))
"""


@pytest.mark.slow
@pytest.mark.skipif(memory_reuse._glibc() is None, reason="another C library than glibc")
def test_steps_find_the_memory_of_the_steps_before_while_it_is_kept() -> None:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(memory_reuse.SET_BY_USER)
    }  # Dask sets one
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=env)
    before, kept, after = map(int, result.stdout.split())
    assert kept < 0.3 * min(before, after)


def test_nothing_is_done_where_there_is_no_such_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_reuse, "_glibc", lambda: None)
    entered = False
    with memory_reuse.keep_freed_memory():
        entered = True
    assert entered


@pytest.mark.parametrize("variable", ["MALLOC_TOP_PAD_", "GLIBC_TUNABLES"])
def test_what_the_user_has_set_is_left_alone(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    assert memory_reuse._glibc.__wrapped__() is None
