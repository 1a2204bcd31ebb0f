"""Measure how far each metric lies from its oracle, and write the table in `tsnn_uq/metrics/README.md`.

``python -m tests.metrics.table`` takes about a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.metrics.oracles import BINS, ORACLES
from tsnn_uq.metrics import ConformalClassifier
from tsnn_uq.metrics import functional as F

README = Path(F.__file__).with_name("README.md")
DESCRIPTIONS = Path(__file__).with_name("table.json")
SEEDS = range(12)
MONTE_CARLO = [
    "predictive_entropy",
    "expected_entropy",
    "mutual_information",
    "predictive_variance",
    "predictive_std",
    "variation_ratio",
    "pairwise_disagreement",
    "expected_pairwise_kl",
]
SCORES = ["accuracy", "negative_log_likelihood", "brier_score"]
SELECTIVE = ["risk_coverage_curve", "aurc", "excess_aurc", "augrc", "accuracy_at_coverage", "coverage_at_risk"]
DETECTION = ["ood_auroc", "ood_aupr_in", "ood_aupr_out", "fpr_at_tpr"]


def distributions(generator: torch.Generator, seed: int, *shape: int) -> Tensor:
    """Float64 rows: smooth, sharp, one-hot or uniform ones, on the edges of bins, or all of these in one."""
    *_, classes = shape
    smooth = torch.randn(shape, generator=generator, dtype=torch.float64)
    sharp = (20 * smooth).softmax(-1)
    edges = torch.zeros(shape, dtype=torch.float64)
    edges[..., 0] = torch.randint(0, 11, shape[:-1], generator=generator) / 10
    edges[..., 1] = 1 - edges[..., 0]
    one_hot = torch.nn.functional.one_hot(smooth.argmax(-1), classes).double()
    kinds = [smooth.softmax(-1), sharp, one_hot, torch.full(shape, 1 / classes, dtype=torch.float64), edges]
    if seed % 6 < 5:
        return kinds[seed % 6]
    choice = torch.randint(5, (*shape[:-1], 1), generator=generator)
    return sum((kind * (choice == i) for i, kind in enumerate(kinds)), torch.zeros(shape, dtype=torch.float64))


def values_of(result: Any) -> np.ndarray:
    parts = [result] if isinstance(result, (Tensor, float)) else list(result)
    return np.concatenate([np.atleast_1d(np.asarray(part, dtype=float)).ravel() for part in parts])


def cases(name: str, seed: int) -> Iterator[tuple[Any, Any]]:
    """Our values and the oracle's on the inputs of this seed."""
    generator, oracle = torch.Generator().manual_seed(seed), ORACLES[name]
    function = getattr(F, name)
    for samples, inputs, classes in [(1, 1, 2), (2, 7, 3), (5, 60, 10)]:
        probs = distributions(generator, seed, samples, inputs, classes)
        one, target = probs[0], torch.randint(classes, (inputs,), generator=generator)
        scores = torch.randint(0, 5, (2, 5), generator=generator).double() / 4
        arrays = one.numpy(), target.numpy()
        if name in MONTE_CARLO:
            yield function(probs), oracle(probs.numpy())
        elif name in ("human_cross_entropy", "doubt_correlation"):
            counts = torch.randint(1, 4, (inputs, classes), generator=generator)  # few, so that there are ties
            given = 0.9 * one + 0.1 / classes if name == "human_cross_entropy" else one[:, 0].round(decimals=2)
            if name == "human_cross_entropy" or (inputs > 1 and len(given.unique()) > 1):
                yield function(given, counts), oracle(given.numpy(), counts.numpy())
        elif name in SCORES:
            yield function(one, target), oracle(*arrays)
        elif name == "smooth_calibration_error":
            if function(one, target) > 2e-3 and inputs > 1:  # below, the grid of the oracle is too coarse
                yield function(one, target), oracle(*arrays)
        elif name == "reliability_curve":
            curve = function(one, target, BINS)
            points = torch.stack([curve.confidence, curve.accuracy, curve.low, curve.high], 1)
            yield points[curve.count > 0], oracle(*arrays)
        elif name.endswith("_error") or name == "brier_decomposition":
            yield function(one, target, BINS), oracle(*arrays)
        elif name in SELECTIVE:
            result = function(scores[0], scores[1] > 0.4)
            yield result.risk if name == "risk_coverage_curve" else result, oracle(scores[0], scores[1] > 0.4)
        elif name in DETECTION:
            yield function(scores[0], scores[1]), oracle(*scores.numpy())
        elif name in ("energy_score", "maximum_logit_score"):
            logits = 10 ** (seed % 4) * torch.randn(inputs, classes, generator=generator, dtype=torch.float64)
            yield function(logits), oracle(logits.numpy())
        elif name == "maximum_softmax_score":
            yield function(one), oracle(arrays[0])
        elif name == "first_stable_step":
            yield function(probs), oracle(probs.numpy())
        elif name == "early_exit":
            yield function(probs, target, 0.6), oracle(probs.numpy(), arrays[1])
        elif name in ("set_coverage", "set_size"):
            labels = (target,) if name == "set_coverage" else ()
            yield function(one > 0.15, *labels), oracle(arrays[0] > 0.15, *(label.numpy() for label in labels))
        elif name == "mcnemar_test":
            yield function(one[:, 0] > 0.3, one[:, 1] > 0.3), oracle(arrays[0][:, 0] > 0.3, arrays[0][:, 1] > 0.3)
        elif name == "conformal_sets":
            fitted = ConformalClassifier(0.2).fit(one, target)
            yield function(probs[-1], fitted).double(), oracle(probs[-1].numpy(), *arrays)
        elif name == "paired_bootstrap":
            pair, draws = (one[:, 0], one[:, 1]), torch.Generator().manual_seed(seed)
            rows = torch.randint(inputs, (50, inputs), generator=torch.Generator().manual_seed(seed))
            ours = function(lambda x: x.square().mean(), *pair, generator=draws, resamples=50)
            yield ours, oracle(*(x.numpy() for x in pair), rows.numpy())
        elif name == "over_time":
            over = distributions(generator, seed, samples, 4, inputs, classes)
            yield function(F.predictive_entropy, over), oracle(over.numpy())
        else:
            over = distributions(generator, seed, samples, 4, inputs, classes)
            yield function(over), oracle(over.numpy())


def largest_difference(name: str, seeds: range = SEEDS) -> float:
    """Over all inputs; equal infinities differ by 0."""
    worst = 0.0
    for seed in seeds:
        for ours, theirs in cases(name, seed):
            a, b = values_of(ours), values_of(theirs)
            assert a.shape == b.shape, name
            equal = (a == b) | (np.isnan(a) & np.isnan(b))
            worst = max(worst, *np.where(equal, 0.0, np.abs(np.where(equal, 0, a) - np.where(equal, 0, b))), 0.0)
    return worst


def table() -> str:
    groups = json.loads(DESCRIPTIONS.read_text(encoding="utf-8"))
    lines = []
    for title, rows in groups.items():
        lines += [
            "",
            f"### {title}",
            "",
            "| metric | formula | reference | oracle | largest difference |",
            "|---|---|---|---|---|",
        ]
        for name, (formula, reference, oracle) in rows.items():
            difference = largest_difference(name)
            shown = "0" if difference == 0 else f"{difference:.0e}"
            lines.append(f"| `{name}` | {formula} | {reference} | {oracle} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    head, marker, _ = README.read_text(encoding="utf-8").partition("<!-- table -->\n")
    README.write_text(head + marker + table(), encoding="utf-8")


if __name__ == "__main__":
    main()
