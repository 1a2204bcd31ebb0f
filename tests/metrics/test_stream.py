"""All metrics of constant memory over a stream: what they keep does not grow with it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import tsnn_uq.metrics as M
from tests.metrics.stream import constant_memory

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


def run(*options: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.metrics.stream", *options]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_all_but_a_few_need_constant_memory_and_those_say_so() -> None:
    rest = {name for name in M.__all__ if hasattr(getattr(M, name), "update")} - set(constant_memory())
    assert rest == NEED_ALL_INPUTS | {"PerInputMetric"}
    for name in NEED_ALL_INPUTS:
        assert "kept" in getattr(M, name).__doc__


def test_a_stream_leaves_nothing_behind() -> None:
    """200,000 predictions of 10 classes and their samples are 32 MB; the second half takes no more than the first."""
    report = run("--inputs", "200000", "--batch", "10000")
    assert report["growth MB"] < 8
    assert report["numbers kept"] < 10_000


@pytest.mark.slow
def test_a_million_predictions_stream_through() -> None:
    """160 MB in all; ``python -m tests.metrics.stream`` takes ten million, and two minutes."""
    report = run("--inputs", "1000000")
    assert report["inputs"] == 1_000_000
    assert report["growth MB"] < 40  # allocators wander; the second half alone is 80 MB
