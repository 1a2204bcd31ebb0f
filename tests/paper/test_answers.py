"""The report's answers against counts and formulas by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("paper.answers", reason="needs a checkout: paper/ is not beside tests/")

from paper.answers import answers, quantization_cost
from paper.number_format import MINUS
from paper.report_sources import Sources
from tsnn_uq.checks import InputError

SOURCES = Sources(Path(__file__).parents[2])


def difference(measure, method, mean, low, high, family="all"):
    names = {"measure": measure, "dataset": "all" if family == "all" else "fashion-mnist", "family": family}
    return {**names, "method": method, "difference_mean": mean, "low": low, "high": high}


def test_costs_are_counted_by_interval_and_direction():
    rows = [
        difference("accuracy", "direct", -0.5, -0.7, -0.3),
        difference("accuracy", "distill", 0.2, 0.1, 0.3),
        difference("ece", "direct", 0.04, -0.1, 0.2),
        difference("ece", "distill", -0.3, -0.4, -0.2),
        difference("predictive_entropy", "direct", 0.1, 0.05, 0.2),
    ]
    single = [row | {"family": "dropout", "dataset": "fashion-mnist"} for row in rows]
    one_family = quantization_cost(pd.DataFrame(single))
    assert one_family == {
        "cost.fashion-mnist.methods": "2",
        "cost.fashion-mnist.accuracy": f"{MINUS}0.50 to 0.20",
        "cost.fashion-mnist.accuracy.worse": "1",
        "cost.fashion-mnist.accuracy.better": "1",
        "cost.fashion-mnist.accuracy.best": "distill",
        "cost.fashion-mnist.ece": f"{MINUS}0.30 to 0.04",
        "cost.fashion-mnist.ece.worse": "0",
        "cost.fashion-mnist.ece.better": "1",
        "cost.fashion-mnist.ece.best": "distill",
    }
    others = [difference(measure, "direct", -9, -9, -9, family) for measure in ("accuracy", "ece") for family in "ab"]
    assert quantization_cost(pd.DataFrame([*others, *rows])) == one_family  # means over families are taken


def test_answers_are_those_of_the_figures():
    found = answers(SOURCES)
    foreign = SOURCES.beside("foreign-cifar10-vgg-seed0")
    direct = foreign[(foreign["score"] == "entropy") & (foreign["method"] == "direct") & (foreign["data"] != "mean")]
    assert found["detection.direct.entropy"] == f"{100 * sum(direct['auroc']) / len(direct):.1f}"
    widest = 0.0
    for area in foreign["auroc"][foreign["data"] != "mean"]:
        q1, q2, n = area / (2 - area), 2 * area**2 / (1 + area), 2000
        variance = (area * (1 - area) + (n - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / n**2
        widest = max(widest, 196 * math.sqrt(variance))
    assert found["detection.half-width"] == f"{widest:.1f}"
    corrupted = SOURCES.beside("corruption-cifar10-vgg-seed0").query("severity > 0")
    errors = [100 * corrupted[corrupted["method"] == method]["error"].mean() for method in ("direct", "float")]
    assert found["corruption.error.difference"].startswith(f"{errors[0] - errors[1]:.1f} [")
    stopping = SOURCES.beside("stopping-mnist-dropout-seed0").query("rule == 'risk-control' and promise == 0.01")
    assert found["stopping.mnist.float.steps"] == f"{stopping['mean_steps'].iloc[0]:.1f}"


def test_rows_say_their_version_or_the_list_of_sources_does(tmp_path):
    results = tmp_path / "paper" / "results"
    results.mkdir(parents=True)
    listed = 'old = "old.csv"\nwords = "words.csv"\nresults = [{file = "new.csv"}]\nversions = {"0.1.0" = ["old.csv"'
    (results / "words.csv").write_text("work\nsome\n")
    (results / "old.csv").write_text("seed\n0\n")
    (results / "new.csv").write_text("seed,version\n0,0.3.0\n1,\n2,0.3.0\n")
    (tmp_path / "paper" / "sources.toml").write_text(f'{listed}, "new.csv"]}}')
    assert Sources(tmp_path).versions == {"0.3.0": ["new: 2 of 3 rows"], "0.1.0": ["new: 1 of 3 rows", "old"]}
    (tmp_path / "paper" / "sources.toml").write_text(f"{listed}]}}")
    with pytest.raises(InputError, match=r"expected a version of the networks in new\.csv"):
        _ = Sources(tmp_path).versions
