from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from tsnn_uq.engine import Engine
from tsnn_uq.fast.engine.gather import pack_spikes
from tsnn_uq.networks import build

USE = """
import torch
from tsnn_uq.engine import Engine
from tsnn_uq.networks import build
network = build("dropout", sizes=(12, 8, 3), generator=torch.Generator().manual_seed(0))
Engine(network)(torch.rand(2, 12))
from tsnn_uq.fast.engine import kernels
assert kernels.propagate.signatures
print(sum(kernels.propagate.stats.cache_misses.values()), sum(kernels.propagate.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_a_second_process_does_not_compile_again():
    network = build("dropout", sizes=(12, 8, 3), generator=torch.Generator().manual_seed(0))
    Engine(network, backend="compiled")(torch.rand(2, 12))  # compiled at the latest now
    output = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=True, timeout=300).stdout
    misses, hits = map(int, output.split())
    assert misses == 0
    assert hits > 0


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 70])
def test_spikes_are_packed_channel_by_channel(channels):
    values = torch.randint(0, 2, (3, 2, 5, channels), generator=torch.Generator().manual_seed(0)).numpy()
    words = np.zeros((2, 3, 5 * (-(-channels // 32))), np.uint32)
    assert pack_spikes(values.astype(np.float32), words)
    rows = words.reshape(2, 3, 5, -1).tolist()
    for n, t, pixel in np.ndindex(2, 3, 5):
        number = sum(word << 32 * place for place, word in enumerate(rows[n][t][pixel]))
        assert number == sum(int(spike) << channel for channel, spike in enumerate(values[t, n, pixel]))


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, float("nan"), float("inf"), 1e-45])
@pytest.mark.parametrize("place", [0, 40, 99])
def test_anything_but_0_and_1_is_no_spike(value, place):
    values = np.zeros((1, 2, 1, 50), np.float32)
    values.reshape(-1)[place] = value
    assert not pack_spikes(values, np.zeros((2, 1, 2), np.uint32))
