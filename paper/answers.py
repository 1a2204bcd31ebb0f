"""Numbers of the report's answers, from the tables beside its figures; intervals are 95 %."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from paper.number_format import between, interval, number, records
from paper.report_sources import Sources
from tsnn_uq.results.bayesian_comparison.difference_table import ALL
from tsnn_uq.results.figures.posteriors import half_width
from tsnn_uq.results.measures import MEASURES

__all__ = ["COST", "answers", "cost_counts", "quantization_costs", "source_name", "term_effects"]

Numbers = dict[str, str]
COST = ("accuracy", "nll", "scaled_nll", "ece", "scaled_ece", "aurc")
"""Measures that say what quantization costs."""
STOPPING = {
    "mnist": "stopping-mnist-dropout-seed0",
    "recordings": "stopping-nmnist-simulated-slayer-seed0-loss-every",
}
PROMISE = 0.01
"""The accuracy that early stopping promises to lose at most."""


def answers(sources: Sources) -> Numbers:
    """The numbers by name."""
    found = cost_counts(quantization_costs(sources.differences))
    found |= _detection(sources.beside("foreign-cifar10-vgg-seed0")) | detection_gap(sources.table("foreign-fashion"))
    for name in ("corruption-cifar10-vgg-seed0", "corruption-fashion-mnist-dropout-seed0"):
        found |= _corruption(sources.beside(name))
    found |= _doubt(sources.beside("doubt-cifar10-vgg-seed0"))
    for key in ("posteriors", "posteriors-fashion"):
        found |= posterior_gain(sources.table(key))
    return found | _stopping({of: sources.beside(name) for of, name in STOPPING.items()})


def quantization_costs(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Differences from float networks: a row for each data set, ternary part, method and measure of `COST`.

    Args:
        tables: tables of `analysis/differences.py`, each of one data set; of several families the means are taken.

    Returns:
        Columns ``data``, ``part``, ``method``, ``measure``, ``mean``, ``low``, ``high``, and ``verdict``: ``"worse"``
        or ``"better"`` if the interval excludes zero, else empty.
    """
    rows = []
    for table in tables:
        over_families = table["family"] == ALL
        (data,) = table["dataset"][~over_families].unique()
        means = table[over_families] if over_families.any() else table
        for row in records(means[means["measure"].isin(COST)]):
            better = sorted(MEASURES[row["measure"]].better * row[end] for end in ("low", "high"))
            verdict = "better" if better[0] > 0 else "worse" if better[1] < 0 else ""
            names = {"data": data, "part": row["quantized_part"], "method": row["method"], "measure": row["measure"]}
            ends = {"mean": row["difference_mean"], "low": row["low"], "high": row["high"]}
            rows.append({**names, **ends, "verdict": verdict})
    return pd.DataFrame(rows)


def cost_counts(costs: pd.DataFrame) -> Numbers:
    """How many networks with all layers ternary, by data set and method, are worse and better than float ones."""
    found: Numbers = {}
    for measure, rows in costs[costs["part"] == "all"].groupby("measure", sort=False):
        found[f"cost.{measure}.of"] = str(len(rows))
        for verdict in ("worse", "better"):
            found[f"cost.{measure}.{verdict}"] = str((rows["verdict"] == verdict).sum())
    return found


def term_effects(finals: pd.DataFrame) -> pd.DataFrame:
    """Changes by each term of finals, direct networks after temperature scaling: means of the pairs of a seed.

    Returns:
        Texts in columns: ``data``, ``families``, ``term``, ``pairs``, and means with their
        intervals for ``variance`` (of right predictions, in percent), ``accuracy``, ``ece`` (points) and ``aurc`` (‰).
    """
    rows = finals[(finals["method"] == "direct") & (finals["calibration"] == "temperature")]
    (data,) = rows["dataset"].unique()
    rows = rows.set_index(["family", "seed"])
    without = rows[rows["regularizer"] == "none"]
    found = []
    for text, with_it in rows[rows["regularizer"] != "none"].groupby("regularizer", sort=False):
        variance = (with_it["predictive_variance_correct"] / without["predictive_variance_correct"] - 1).dropna()
        families = ", ".join(dict.fromkeys(with_it.index.get_level_values("family")))
        line = {"data": data, "families": families, "term": text, "pairs": str(len(variance))}
        line["variance"] = _mean_interval(100 * variance, 0)
        for measure in ("accuracy", "ece", "aurc"):
            change = MEASURES[measure].factor * (with_it[measure] - without[measure]).dropna()
            line[measure] = _mean_interval(change, 2)
        found.append(line)
    return pd.DataFrame(found)


def source_name(method: str) -> str:
    """The short name of a source of samples in the names of numbers.

    Example:
        >>> [source_name(name) for name in ("float, masks", "direct, masks, 5 epochs more", "ensemble of 5 float")]
        ['float', 'direct-longer', 'ensemble-float']
        >>> source_name("ternary-weights posterior at temperature 0.01")
        'ternary-weights'
    """
    words = method.replace(",", "").split()
    return f"ensemble-{words[-1]}" if words[0] == "ensemble" else words[0] + ("-longer" if words[-1] == "more" else "")


def posterior_gain(posteriors: pd.DataFrame) -> Numbers:
    """Ternary posteriors minus direct networks with masks and the same budget, as they are."""
    (data,) = posteriors["dataset"].unique()
    rows = posteriors[posteriors["calibration"] == "none"]
    rows = rows.assign(source=rows["method"].map(source_name)).set_index(["source", "seed"])
    found: Numbers = {}
    for name in [name for name in rows.index.unique("source") if name.startswith("ternary")]:
        for measure in (MEASURES["accuracy"], MEASURES["nll"], MEASURES["ece"]):
            gain = measure.factor * (rows.loc[name][measure.name] - rows.loc["direct-longer"][measure.name])
            found[f"gain.{data}.{name}.{measure.name}"] = _mean_interval(gain, measure.digits)
    return found


def _detection(foreign: pd.DataFrame) -> Numbers:
    """Areas under the ROC curve for foreign images in percent, means over the sets, by score."""
    foreign = foreign[foreign["data"] != "mean"]
    means = 100 * foreign.groupby(["score", "method"], sort=False)["auroc"].mean().unstack("method")
    best = str(means.min(axis=1).idxmax())
    found = {
        "detection.scores": str(len(means)),
        "detection.lower": str((means["direct"] < means["float"]).sum()),
        "detection.best": best,
        "detection.inputs": between(foreign["inputs"], 0),
        "detection.half-width": between([_hanley_mcneil(foreign)], 1),
    }
    for method in ("float", "direct"):
        by_score = means[method].to_dict()
        found[f"detection.{method}.entropy"] = number(by_score["entropy"], 1)
        found[f"detection.{method}.best"] = number(by_score[best], 1)
    return found


def detection_gap(foreign: pd.DataFrame) -> Numbers:
    """Areas of ternary minus float networks of the same seed in percent, means over the foreign sets, by score.

    ``...worse`` counts the scores whose interval is below zero.
    """
    (data,) = foreign["dataset"].unique()
    means = 100 * foreign[foreign["data"] != "mean"].groupby(["method", "score", "seed"])["auroc"].mean()
    found: Numbers = {f"detection.{data}.scores": str(foreign["score"].nunique())}
    for method in [name for name in foreign["method"].unique() if name != "float"]:
        gaps = (means[method] - means["float"]).unstack("seed")
        found |= {f"detection.{data}.{method}.{score}": _mean_interval(of, 1) for score, of in gaps.iterrows()}
        half = gaps.apply(half_width, axis=1)
        found[f"detection.{data}.{method}.worse"] = str((gaps.mean(axis=1) + half < 0).sum())
        found[f"detection.{data}.{method}.better"] = str((gaps.mean(axis=1) - half > 0).sum())
    return found


def _hanley_mcneil(foreign: pd.DataFrame) -> float:
    """Largest half-width of an area's interval in percent, with as many own as foreign inputs (Hanley, McNeil 1982)."""
    area, count = foreign["auroc"], foreign["inputs"]
    both = area / (2 - area) + 2 * area**2 / (1 + area) - 2 * area**2  # Q1 + Q2 - 2 area^2
    variance = (area * (1 - area) + (count - 1) * both) / count**2
    return float(100 * 1.96 * variance.max() ** 0.5)


def _corruption(table: pd.DataFrame) -> Numbers:
    """Clean and corrupted images: means over kinds and severities, and intervals over kinds of differences to float."""
    prefix = f"corruption.{table['dataset'].iloc[0]}"
    found = {f"{prefix}.kinds": str(table["kind"].nunique() - 1)}
    for measure, factor, digits in (("error", 100, 1), ("scaled_ece", 100, 1), ("scaled_nll", 1, 2)):
        by_kind = factor * table.groupby(["kind", "method"])[measure].mean().unstack("method")
        corrupted = by_kind.drop("none")
        for method in by_kind:
            name = f"{prefix}.{measure}.{method}"
            found[name] = number(corrupted[method].mean(), digits)
            found[f"{name}.clean"] = number(by_kind[method].to_dict()["none"], digits)
            found[f"{name}.difference"] = _mean_interval(corrupted[method] - corrupted["float"], digits)
    return found


def _mean_interval(values: pd.Series, digits: int) -> str:
    """A mean with the interval of Student's t."""
    mean, half = values.mean(), half_width(values)
    return interval((mean, mean - half, mean + half), digits)


def _doubt(table: pd.DataFrame) -> Numbers:
    """Rank correlations of predictive entropy with the entropy of people's answers."""
    rows = records(table[table["measure"] == "predictive entropy"])
    return {f"doubt.{row['method']}": interval((row["value"], row["low"], row["high"]), 3) for row in rows}


def _stopping(tables: Mapping[str, pd.DataFrame]) -> Numbers:
    """Steps and energy of decisions under a promised loss of accuracy, and the loss (Wilson's interval)."""
    from scipy.stats import binomtest

    found: Numbers = {"stopping.promise": number(100 * PROMISE, 0)}
    for of, table in tables.items():
        found[f"stopping.{of}.all-steps"] = between(table["steps"], 0)
        found[f"stopping.{of}.inputs"] = between(table["inputs"], 0)
        for method in ("float", "direct"):
            rows = table[table["method"] == method]
            row = rows[(rows["rule"] == "risk-control") & (rows["promise"] == PROMISE)].iloc[0]
            lost = binomtest(round(row["accuracy_gap"] * row["inputs"]), row["inputs"]).proportion_ci(method="wilson")
            name = f"stopping.{of}.{method}"
            error = 1.96 / row["inputs"] ** 0.5  # of a mean over inputs, with their standard deviation
            steps = row["mean_steps"], error * row["steps_std"]
            found[f"{name}.steps"] = interval((steps[0], steps[0] - steps[1], steps[0] + steps[1]), 2)
            found[f"{name}.lost"] = interval((100 * v for v in (row["accuracy_gap"], lost.low, lost.high)), 2)
            for accounting in ("fetch-all", "fetch-spikes", "operations"):
                energy, half = (1e-6 * row[f"{accounting}_pj"], 1e-6 * error * row[f"{accounting}_pj_std"])
                shown = (f"{v:,.{0 if energy >= 100 else 2}f}" for v in (energy, energy - half, energy + half))
                found[f"{name}.{accounting}"] = "{} [{}, {}]".format(*shown)
    return found
