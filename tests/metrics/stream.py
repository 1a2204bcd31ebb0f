"""Stream predictions through every metric of constant memory, and report what that took.

``python -m tests.metrics.stream`` streams 10 million predictions of 10 classes, four Monte Carlo samples each, in
batches of 100,000; what it prints is JSON.
"""

from __future__ import annotations

import argparse
import inspect
import json
import resource
import time
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics import Metric

import tsnn_uq.metrics as M

SAMPLES, CLASSES, STEPS = 4, 10, 3


def constant_memory() -> dict[str, Metric]:
    """A metric of each class whose states are all sums."""
    held_out = torch.eye(CLASSES).repeat(20, 1) * 0.5 + 0.05
    fitted = M.ConformalClassifier().fit(held_out, torch.arange(CLASSES).repeat(20))
    metrics: dict[str, Metric] = {"ConformalSets": M.ConformalSets(fitted), "OverTime": M.OverTime(M.Accuracy(), STEPS)}
    for name in M.__all__:
        kind = getattr(M, name)
        if name in metrics or name in ("PerInputMetric", "EarlyExit", "PairedBootstrap"):
            continue
        if isinstance(kind, type) and issubclass(kind, Metric):
            metric = kind()
            # The mark of a metric's settings is a list that stays empty; no name of an attribute looks like it.
            if all(isinstance(default, Tensor) for name, default in metric._defaults.items() if name.isidentifier()):
                metrics[name] = metric
    return metrics


def batch(inputs: int, generator: torch.Generator) -> dict[str, Tensor]:
    """What all of them are given, by the names of their arguments."""
    logits = 2 * torch.randn(inputs, CLASSES, generator=generator)
    target = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    probs = (logits + torch.randn(SAMPLES, inputs, CLASSES, generator=generator)).softmax(-1)
    right = probs.argmax(-1) == target
    sets = probs[0] > 0.1
    return {"probs": probs, "target": target, "logits": logits, "sets": sets, "counts": (50 * probs[1]).ceil()} | {
        "first_correct": right[0],
        "second_correct": right[1],
    }


def update(metrics: dict[str, Metric], given: dict[str, Tensor]) -> None:
    for name, metric in metrics.items():
        wanted = inspect.signature(metric.update).parameters
        arguments = {key: value for key, value in given.items() if key in wanted}
        if name == "FirstStableStep":  # the samples stand in for time steps
            arguments = {"probs": given["probs"]}
        elif name == "OverTime":
            arguments["probs"] = given["probs"][:STEPS]
        metric.update(**arguments)


def numbers_kept(metrics: dict[str, Metric]) -> int:
    parts = [part for metric in metrics.values() for part in metric.modules() if isinstance(part, Metric)]
    return sum(len(torch.as_tensor(state).flatten()) for part in parts for state in part.metric_state.values())


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def stream(inputs: int, size: int) -> dict[str, float]:
    generator, metrics = torch.Generator().manual_seed(0), constant_memory()
    for _ in range(2):  # allocator and kernels get warm
        update(metrics, batch(size, generator))
    kept, start, peaks = numbers_kept(metrics), time.process_time(), []
    for _ in range(2):
        resident = []
        for _ in range(inputs // size // 2):
            update(metrics, batch(size, generator))
            resident.append(resident_bytes())
        peaks.append(max(resident))
    assert numbers_kept(metrics) == kept
    values = [metric.compute() for metric in metrics.values()]
    assert all(torch.isfinite(value).all() for value in values if isinstance(value, Tensor))
    return {
        "metrics": len(metrics),
        "inputs": inputs,
        "batch": size,
        "numbers kept": kept,
        "growth MB": round((peaks[1] - peaks[0]) / 2**20, 1),  # what the second half took beyond the first
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "processor s": round(time.process_time() - start, 1),
        "accuracy": round(metrics["Accuracy"].compute().item(), 4),
        "ece": round(metrics["ExpectedCalibrationError"].compute().item(), 5),
        "smooth ece": round(metrics["SmoothCalibrationError"].compute().item(), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=100_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(stream(options.inputs, options.batch)))


if __name__ == "__main__":
    main()
