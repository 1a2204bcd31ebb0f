"""The report's answers against counts and formulas by hand."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

pytest.importorskip("paper.answers", reason="needs a checkout: paper/ is not beside tests/")

from paper.answers import answers, cost_counts, posterior_gain, quantization_costs, term_effects
from paper.number_format import MINUS
from paper.report_sources import Sources
from tsnn_uq.checks import InputError
from tsnn_uq.experiments.inputs import load_splits
from tsnn_uq.experiments.plan import Grid

SOURCES = Sources(Path(__file__).parents[2])


def difference(measure, method, mean, low, high, family="all"):
    names = {"measure": measure, "dataset": "all" if family == "all" else "fashion-mnist", "family": family}
    return {**names, "quantized_part": "all", "method": method, "difference_mean": mean, "low": low, "high": high}


def test_costs_are_counted_by_interval_and_direction():
    rows = [
        difference("accuracy", "direct", -0.5, -0.7, -0.3),
        difference("accuracy", "distill", 0.2, 0.1, 0.3),
        difference("ece", "direct", 0.04, -0.1, 0.2),
        difference("ece", "distill", -0.3, -0.4, -0.2),
        difference("predictive_entropy", "direct", 0.1, 0.05, 0.2),
    ]
    single = [row | {"family": "dropout", "dataset": "fashion-mnist"} for row in rows]
    costs = quantization_costs([pd.DataFrame(single)])
    assert costs["verdict"].tolist() == ["worse", "better", "", "better"]
    assert set(costs["data"]) == {"fashion-mnist"}
    others = [difference(measure, "direct", -9, -9, -9, family) for measure in ("accuracy", "ece") for family in "ab"]
    over_families = quantization_costs([pd.DataFrame([*others, *rows])])  # means over families are taken
    pd.testing.assert_frame_equal(over_families, costs)
    inner = pd.DataFrame([row | {"quantized_part": "inner"} for row in single])
    counts = {"cost.accuracy.of": "2", "cost.accuracy.worse": "1", "cost.accuracy.better": "1"}
    counts |= {"cost.ece.of": "2", "cost.ece.worse": "0", "cost.ece.better": "1"}
    assert cost_counts(quantization_costs([pd.DataFrame(single), inner])) == counts  # of networks that are ternary


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
    assert found["corruption.cifar10.error.direct.difference"].startswith(f"{errors[0] - errors[1]:.1f} [")
    stopping = SOURCES.beside("stopping-mnist-dropout-seed0").query("rule == 'risk-control' and promise == 0.01")
    row = stopping.iloc[0]
    half = stats.norm.ppf(0.975) * row["steps_std"] / math.sqrt(row["inputs"])
    ends = [row["mean_steps"] - half, row["mean_steps"] + half]
    assert found["stopping.mnist.float.steps"] == f"{row['mean_steps']:.2f} [{ends[0]:.2f}, {ends[1]:.2f}]"


def told(differences, digits):
    """A mean and its interval by scipy's test of one sample."""
    interval = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    values = (sum(differences) / len(differences), *interval)
    return "{} [{}, {}]".format(*(f"{value:.{digits}f}".replace("-", MINUS) for value in values))


def test_a_terms_effect_is_that_of_pairs_of_one_seed_and_family():
    pairs = [  # accuracy and variance without the term and with it
        ("dropout", 0, (0.95, 0.004), (0.955, 0.003)),
        ("dropout", 1, (0.94, 0.005), (0.939, 0.004)),
        ("dropconnect", 0, (0.96, 0.003), (0.962, 0.0021)),
    ]
    rows = [
        {"dataset": "mnist", "family": family, "seed": seed, "method": method, "calibration": calibration}
        | {"regularizer": text, "accuracy": accuracy, "predictive_variance_correct": variance, "ece": 0.0, "aurc": 0.0}
        for family, seed, *both in pairs
        for text, (accuracy, variance) in zip(("none", "variance:1"), both, strict=True)
        for method, calibration in (("direct", "temperature"), ("direct", "none"), ("float", "temperature"))
    ]
    (found,) = term_effects(pd.DataFrame(rows).sample(frac=1, random_state=0)).to_dict("records")
    assert (found["data"], found["term"], found["pairs"]) == ("mnist", "variance:1", "3")
    assert set(found["families"].split(", ")) == {"dropout", "dropconnect"}
    assert found["accuracy"] == told([0.5, -0.1, 0.2], 2)
    assert found["variance"] == told([-25, -20, -30], 0)


def test_a_posteriors_gain_is_over_the_same_budget():
    values = {"direct, masks": (9.0, 9.0, 9.0), "direct, masks, 5 epochs more": (0.30, 0.32, 0.31)}
    values["ternary posterior at temperature 0.1"] = (0.28, 0.31, 0.33)
    rows = [
        {"dataset": "mnist", "method": method, "seed": seed, "calibration": calibration}
        | {"accuracy": 0.9, "nll": nll, "ece": 0.01}
        for method, each in values.items()
        for seed, nll in enumerate(each)
        for calibration in ("none", "temperature")
    ]
    found = posterior_gain(pd.DataFrame(rows))
    assert found["gain.mnist.ternary.nll"] == told([-0.02, -0.01, 0.02], 4)
    assert len(found) == 3


@pytest.mark.slow
@pytest.mark.skipif("TSNN_UQ_DATA" not in os.environ, reason="TSNN_UQ_DATA is not set")
@pytest.mark.parametrize("name", ["fsdd", "fsdd-speakers", "mnist-fc", "nmnist", "plif"])
def test_networks_were_trained_on_as_many_inputs_as_the_sources_say(name):
    (source,) = [source for source in SOURCES.listed["results"] if source["file"] == f"{name}.csv"]
    for config in source["configs"]:
        run = Grid.load(SOURCES.results / config).runs()[0]
        assert len(load_splits(run).train.labels) == source["train"]


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
