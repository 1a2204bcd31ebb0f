"""Which backend runs where."""

from __future__ import annotations

import pytest
import torch

from tsnn_uq.fast import compilers
from tsnn_uq.fast.compilers import compiler_for, kernels_for
from tsnn_uq.fast.scans import lif
from tsnn_uq.neurons import lif_reference
from tsnn_uq.neurons.lif import SCANS


@pytest.mark.parametrize(
    ("device", "dtype", "compiler"),
    [
        ("cpu", torch.float32, "numba"),
        ("cpu", torch.float64, "numba"),
        ("cuda", torch.float32, "triton"),
        ("cpu", torch.bfloat16, None),
        ("cuda", torch.float16, None),
        ("mps", torch.float32, None),
        ("meta", torch.float32, None),
    ],
)
def test_a_device_and_a_dtype_have_their_compiler(device, dtype, compiler, monkeypatch):
    monkeypatch.setattr(compilers, "is_installed", lambda _: True)
    assert compiler_for(torch.device(device), dtype) == compiler
    monkeypatch.setattr(compilers, "is_installed", lambda _: False)
    assert compiler_for(torch.device(device), dtype) is None


def test_only_what_can_be_imported_is_installed():
    assert compilers.is_installed("numba")
    assert not compilers.is_installed("no_such_compiler")


def test_plain_modules_are_for_all_that_has_no_kernels(monkeypatch):
    assert kernels_for(SCANS, lif_reference, torch.zeros(1)) is lif
    assert kernels_for({"triton": "no.such.module"}, lif_reference, torch.zeros(1)) is lif_reference
    assert kernels_for(SCANS, lif_reference, torch.zeros(1, dtype=torch.bfloat16)) is lif_reference
    monkeypatch.setattr(compilers, "is_installed", lambda _: False)
    assert kernels_for(SCANS, lif_reference, torch.zeros(1)) is lif_reference
