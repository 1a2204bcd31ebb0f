"""All metrics of constant memory over a stream: what they keep does not grow with it."""

from __future__ import annotations

import gc
import tracemalloc

import torch
from torch import Tensor

import tsnn_uq.metrics as M
from tests.metrics.stream import batch, constant_memory, numbers_kept, stream, update

NEED_ALL_INPUTS = {
    "AccuracyAtCoverage",
    "AdaptiveCalibrationError",
    "Augrc",
    "Aurc",
    "CoverageAtRisk",
    "DoubtCorrelation",
    "EarlyExit",
    "ExcessAurc",
    "FprAtTpr",
    "OodAuprIn",
    "OodAuprOut",
    "OodAuroc",
    "PairedBootstrap",
    "RiskCoverageCurve",
}


def live_tensor_bytes() -> int:
    """Bytes of all tensors of this process."""
    storages = [value.untyped_storage() for value in gc.get_objects() if type(value) is Tensor]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def test_all_but_a_few_need_constant_memory_and_those_say_so() -> None:
    rest = {name for name in M.__all__ if hasattr(getattr(M, name), "update")} - set(constant_memory())
    assert rest == NEED_ALL_INPUTS | {"PerInputMetric"}
    for name in NEED_ALL_INPUTS:
        assert "kept" in getattr(M, name).__doc__


def test_a_stream_leaves_nothing_behind(generator: torch.Generator) -> None:
    """Ten more batches of 160 kB leave no tensor, no array and no other object that was not there."""
    metrics = constant_memory()
    for _ in range(2):
        update(metrics, batch(1000, generator))
    gc.collect()
    kept, tensors = numbers_kept(metrics), live_tensor_bytes()
    tracemalloc.start()
    try:
        for _ in range(10):
            update(metrics, batch(1000, generator))
        gc.collect()
        others, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert numbers_kept(metrics) == kept < 10_000
    assert live_tensor_bytes() <= tensors  # of earlier tests some may have gone
    assert others < 64_000


def test_a_report_of_a_stream_has_finite_values() -> None:
    assert stream(4000, 1000)["inputs"] == 4000
