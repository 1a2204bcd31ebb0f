"""The scan for GPUs in Triton's interpreter, which is chosen when Triton is imported; `tests.gpu` has it on a GPU.

Triton is in the extra ``triton`` and not in ``test``: its wheel has 290 MB, and takes 1 GB once it is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.neurons.test_scans import assert_twins, case, every_neuron
from tsnn_uq.fast.compilers import is_installed

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(not is_installed("triton"), reason="triton is not installed: pip install 'tsnn-uq[triton]'")
def test_the_scan_is_a_twin():
    call = [sys.executable, "-m", "tests.fast.scans.test_lif_triton"]
    variables = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(call, env=variables, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    from tsnn_uq.fast.scans import lif_triton

    for number, params in enumerate(every_neuron):
        for shape in [(7, 3, 5)] if number else [(1, 3), (7, 3, 5), (3, 1500)]:
            assert_twins(lif_triton, *case(shape, torch.float64), params, 1e-12)
