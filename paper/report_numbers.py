"""Every number in the text of the report, by name and formatted; all are computed from results/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from paper.answers import answers, source_name
from paper.cost_model import NETWORKS, cost_rows, effective_steps
from paper.number_format import between, mean_std, number, power, records
from paper.report_sources import Sources
from paper.table_1 import paper_rows, spread_apart
from paper.table_cells import KEYS, SHOWN, worse_than_float
from tsnn_uq.cost import DRAM_FETCH_PJ, FLOAT_ADD_PJ
from tsnn_uq.results.measures import MEASURES, Measure, foreign_columns
from tsnn_uq.training import DEFAULT_REGULARIZER

__all__ = ["numbers"]

Numbers = dict[str, str]
WRONG = "predictive_variance_wrong"
DRAWN = ("accuracy", "ece", "nll", "sparsity", "aurc")  # measures of posteriors, and two foreign sets
DIGITS = {**{name: measure.digits for name, measure in SHOWN.items()}, "sparsity_pct": 2, "storage_mb": 3}


def numbers(sources: Sources) -> Numbers:
    """The numbers by name, either ``dataset.family.part.method.measure`` or a description."""
    return {
        "versions": ", ".join(f"{version} ({', '.join(names)})" for version, names in sources.versions.items()),
        **_settings(sources.rows, sources.settings),
        **_groups(sources.summary),
        **{f"{Path(source['file']).stem}.train": f"{source['train']:,}" for source in sources.listed["results"]},
        **_against_float(sources.summary),
        **_teacher(sources.summary),
        **_against_theirs(sources.theirs, sources.summary),
        **_costs(sources.theirs),
        **_posterior(sources.table("posterior")),
        **_foreign(sources.table("foreign")),
        **_kindred(sources.table("kindred")),
        **_default_term(sources.table("finals")),
        **_draws(sources.table("posteriors")),
        **answers(sources),
        **_letters({name: sources.table(name) for name in ("screening", "finals", "posteriors")}),
    }


def _settings(rows: pd.DataFrame, settings: list[dict[str, Any]]) -> Numbers:
    counts = rows.groupby(KEYS, sort=False).size()
    single = counts[counts == 1].reset_index()[["family", "dataset"]].drop_duplicates()
    found = {"networks": str(len(rows)), "groups": str(len(counts)), "level": "95 %", "seeds": between(counts, 0)}
    found["single"] = ", ".join(f"{row['family']} on {row['dataset']}" for row in records(single))
    for name in ("steps", "samples", "epochs"):
        found[name] = between(rows[name], 0)
    names = {"bins": "bins", "p": "network.p", "start": "method.start", "end": "method.end"}
    for name, setting in (names | {"distill_weight": "method.weight"}).items():
        found[name] = between((run[setting] for run in settings if setting in run), 0 if name == "bins" else 1)
    return found


def _groups(summary: pd.DataFrame) -> Numbers:
    found = {}
    for row in records(summary):
        name = ".".join(row[key] for key in KEYS if key != "configuration")
        for measure, digits in DIGITS.items():
            found[f"{name}.{measure}"] = mean_std(row[f"{measure}_mean"], row[f"{measure}_std"], digits)
        found[f"{name}.energy_pj"] = power(row["energy_pj_mean"], row["energy_pj_std"])
    return found


def _pairs(summary: pd.DataFrame) -> pd.DataFrame:
    """Each ternary row joined with the float row of its dataset, family and configuration."""
    of_float = summary[summary["method"] == "float"].drop(columns=["quantized_part", "method"])
    return summary[summary["method"] != "float"].merge(of_float, on=KEYS[:3], suffixes=("", "_float"))


def _against_float(summary: pd.DataFrame) -> Numbers:
    pairs = _pairs(summary)
    every = pairs[pairs["quantized_part"] == "all"]
    ratio: Callable[[pd.DataFrame, str], pd.Series] = lambda t, m: t[f"{m}_mean"] / t[f"{m}_mean_float"]  # noqa: E731
    loss = pairs["accuracy_pct_mean_float"] - pairs["accuracy_pct_mean"]
    found = {
        "ternary.groups": str(len(pairs)),
        "ternary.accuracy.loss": between(loss, 2),
        "ternary.accuracy.lower": str((loss > 0).sum()),
        "ternary.storage.factor": between(1 / ratio(every, "storage_mb"), 1),
        "ternary.energy.factor": between(1 / ratio(every, "energy_pj"), 1),
        "ternary.sparsity": between(every["sparsity_pct_mean"], 1),
        "float.ece": between(pairs["ece_pct_mean_float"], 2),
        "scaled.groups": str(pairs[["scaled_ece_pct_mean", "scaled_ece_pct_mean_float"]].notna().all(axis=1).sum()),
    }
    for method in dict.fromkeys(pairs["method"]):
        rows = pairs[pairs["method"] == method]
        for measure in ("predictive_entropy_nats", "mutual_information_nats", "predictive_variance"):
            found[f"{method}.{measure}.factor"] = between(ratio(rows, measure), 2)
        found[f"{method}.ece"] = between(rows["ece_pct_mean"], 2)
        found[f"{method}.groups"] = str(len(rows))
    for name, shown in SHOWN.items():
        higher = pairs[f"{name}_mean"] > pairs[f"{name}_mean_float"]
        found[f"ternary.{name}.higher"] = str(higher.sum())
        if shown.better:
            clearly = [worse_than_float(summary, row, shown) for row in records(summary)]
            found[f"ternary.{name}.clearly-worse"] = str(sum(clearly))
    return found


def _teacher(summary: pd.DataFrame) -> Numbers:
    """Indirect networks with a teacher compared with those without."""
    distill, indirect = (summary[summary["method"] == method] for method in ("distill", "indirect"))
    pairs = distill.merge(indirect, on=KEYS[:4], suffixes=("", "_without"))
    columns = [f"accuracy_pct_{of}" for of in ("mean", "std", "mean_without", "std_without")]
    apart = pd.Series([spread_apart(*row) for row in pairs[columns].to_numpy()], index=pairs.index, dtype=bool)
    higher = pairs["accuracy_pct_mean"] > pairs["accuracy_pct_mean_without"]
    counts = {"compared": len(pairs), "more-accurate": (apart & higher).sum(), "less-accurate": (apart & ~higher).sum()}
    return {f"distill.{name}": str(count) for name, count in counts.items()}


def _against_theirs(theirs: pd.DataFrame, summary: pd.DataFrame) -> Numbers:
    rows = paper_rows(theirs, summary)
    ours = rows[rows["source"] == "ours"]
    names = ["algorithm", "configuration", "quantized_part"]
    ternary = theirs[theirs["method"] != "none"].merge(theirs[theirs["method"] == "none"], on="algorithm")
    found = {
        "theirs.rows": str(len(theirs)),
        "theirs.rows.run": str(len(theirs.merge(ours[[*names, "method"]].drop_duplicates()))),
        "theirs.ternary.rows": str(len(ternary)),
        "theirs.uncertainty.lower": str((ternary["uncertainty_x"] < ternary["uncertainty_y"]).sum()),
        "theirs.uncertainty.factor": between(ternary["uncertainty_x"] / ternary["uncertainty_y"], 2),
        "ours.rows": str(len(ours)),
    }
    for measure in ("accuracy", "sparsity"):
        for mark in ("higher", "lower"):
            found[f"ours.{measure}.{mark}"] = str((ours[f"{measure}_mark"] == mark).sum())
    return found


def _costs(theirs: pd.DataFrame) -> Numbers:
    rows = cost_rows(theirs)
    error = 100 * (rows["paper_pj"] / rows["energy_pj"] - 1).abs()
    partly = rows["quantized_part"].isin(["2Conv", "2FC"])
    found = {
        "cost.dram-fetch": number(DRAM_FETCH_PJ, 0),
        "cost.float-add": number(FLOAT_ADD_PJ, 1),
        "cost.error": number(error.max(), 1),
        "cost.error.partly": number(error[partly].max(), 1),
    }
    for algorithm, layers in NETWORKS.items():
        found[f"cost.steps.{algorithm}"] = number(effective_steps(theirs, algorithm), 1)
        found[f"cost.weights.{algorithm}"] = f"{sum(layer.weights for layer in layers):,}"
    for part in ("2Conv", "2FC"):
        row = rows[(rows["quantized_part"] == part) & (rows["method"] == "direct")].iloc[0]
        found[f"cost.{part}.theirs"], found[f"cost.{part}.layer"] = power(row["energy_pj"]), power(row["layer_pj"])
    return found


def _posterior(posterior: pd.DataFrame) -> Numbers:
    found = {}
    for measure in ("accuracy", "ece"):
        found[f"posterior.{measure}.rope"] = between(posterior[posterior["measure"] == measure]["rope_high"], 1)
    single = posterior[posterior["family"] != "all"]
    for measure in dict.fromkeys(single["measure"]):
        rows = single[single["measure"] == measure]
        found[f"posterior.{measure}.lower"] = str((rows["high"] < 0).sum())
        found[f"posterior.{measure}.higher"] = str((rows["low"] > 0).sum())
        found[f"posterior.{measure}.open"] = str(((rows["low"] <= 0) & (rows["high"] >= 0)).sum())
        found["posterior.groups"] = str(len(rows))
    return found


def _foreign(foreign: pd.DataFrame) -> Numbers:
    means = foreign.groupby([*KEYS[:2], *KEYS[3:]], as_index=False)[["auroc_entropy", "auroc_information"]].mean()
    of_float, ternary = means[means["method"] == "float"], means[means["method"] != "float"]
    pairs = ternary.merge(of_float, on=KEYS[:2], suffixes=("", "_float"))
    found = {"foreign.networks": str(len(foreign)), "foreign.compared": str(len(pairs))}
    for measure in ("auroc_entropy", "auroc_information"):
        found[f"foreign.{measure}.lower"] = str((pairs[measure] < pairs[f"{measure}_float"]).sum())
        found[f"foreign.float.{measure}"] = between(of_float[measure], 3)
        found[f"foreign.ternary.{measure}"] = between(ternary[measure], 3)
    return found


def _kindred(kindred: pd.DataFrame) -> Numbers:
    """Networks trained on simulated recordings, evaluated on real ones."""
    found = {"kindred.inputs": between(kindred["inputs"], 0)}
    for method, rows in kindred.groupby("method"):
        found[f"kindred.{method}.accuracy"] = between(100 * rows["accuracy"], 2)
        found[f"kindred.{method}.ece"] = between(100 * rows["ece"], 2)
    return found


def _default_term(finals: pd.DataFrame) -> Numbers:
    """Direct networks with the default term, those without it, and float networks, after temperature scaling."""
    rows = finals[finals["calibration"] == "temperature"]

    def of(method: str, text: str) -> pd.DataFrame:
        chosen = rows[(rows["method"] == method) & (rows["regularizer"] == text)]
        return chosen.groupby("family").mean(numeric_only=True)

    with_it, without = of("direct", DEFAULT_REGULARIZER), of("direct", "none")
    of_float, of_float_with = of("float", "none"), of("float", DEFAULT_REGULARIZER)
    found = _gains("default", DEFAULT_REGULARIZER, with_it, without)
    found |= _levels("default", "without", without) | _levels("default", "float", of_float)
    for name in ("normalized_entropy", "predictive_std"):
        found[f"default.{name}.to-float"] = between((with_it[name] / of_float[name]).dropna(), 2)
        found[f"default.{name}.to-float-with"] = between((with_it[name] / of_float_with[name]).dropna(), 2)
    found["default.data"] = " and ".join(rows["dataset"].unique())
    # Finals are sorted by term, the best first.
    others = [text for text in rows["regularizer"].unique() if text not in ("none", DEFAULT_REGULARIZER)]
    return found | (_gains("second", others[0], of("direct", others[0]), without) if others else {})


def _gains(prefix: str, text: str, with_it: pd.DataFrame, without: pd.DataFrame) -> Numbers:
    """The changes by a term, averaged over families; and the text of the term."""
    gain = 100 * (with_it["accuracy"] - without["accuracy"])
    found = {f"{prefix}.term": text, f"{prefix}.accuracy.gain": between(gain.dropna(), 2)}
    found[f"{prefix}.ece.gain"] = between(100 * (with_it["ece"] - without["ece"]).dropna(), 2)
    for name, column in (("variance", "predictive_variance_correct"), ("aurc", "aurc"), ("wrong", WRONG)):
        found[f"{prefix}.{name}.lower"] = between(100 * (1 - with_it[column] / without[column]).dropna(), 0)
    return found | _levels(prefix, "with", with_it)


def _levels(prefix: str, which: str, means: pd.DataFrame) -> Numbers:
    """Means by family of networks with or without a term."""
    shown = [MEASURES[name] for name in ("ece", *foreign_columns(means.columns))]
    return {f"{prefix}.{_key(m)}.{which}": between(m.factor * means[m.name], m.digits) for m in shown}


def _key(measure: Measure) -> str:
    """The name of a measure in names of numbers; letters are those of EMNIST, or in older tables drawn from fonts."""
    return measure.name.replace("emnist", "letters")


def _letters(tables: dict[str, pd.DataFrame]) -> Numbers:
    """The tables with letters drawn from fonts, if there are any."""
    names = [f"regularizer-{name}" for name, table in tables.items() if "ood_auroc_letters" in table]
    return {"letters.of-fonts": ", ".join(names)} if names else {}


def _draws(posteriors: pd.DataFrame) -> Numbers:
    """Posteriors, ensembles, and networks with masks, as they are."""
    rows = posteriors[posteriors["calibration"] == "none"]
    found: Numbers = {}
    for method, of in rows.groupby("method"):
        name, heat = source_name(str(method)), str(method).partition("temperature ")[2]
        found |= {f"draws.{name}.temperature": heat} if heat else {}
        for measure in (MEASURES[column] for column in (*DRAWN, *foreign_columns(posteriors.columns))):
            digits = 1 if measure.name == "sparsity" else measure.digits
            values = measure.factor * of[measure.name]
            found[f"draws.{name}.{_key(measure)}"] = mean_std(values.mean(), values.std(), digits)
    return found
