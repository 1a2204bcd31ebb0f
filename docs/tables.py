"""Fill the tables of README and docs from committed rows: `python -m docs.tables`.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``; a function of this file makes it. A test checks
that nothing changes when they are filled again.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from paper.answers import COST, quantization_costs
from paper.number_format import number
from paper.report_sources import Sources
from tsnn_uq.experiments.ablation import chosen_everywhere, read_stage
from tsnn_uq.experiments.storage import WEIGHTS, pretrained_folder, pretrained_names, read_row
from tsnn_uq.files import read_toml, write_text
from tsnn_uq.results import figures as figure_functions
from tsnn_uq.results.measures import CROSS_ENTROPY, GROUPED, MEASURES, Measure, foreign_columns
from tsnn_uq.results.tables import group_keys, read_results, read_table, summarize

ROOT = Path(__file__).parent.parent
SOURCES = Sources(ROOT)
RESULTS = ROOT / "paper" / "results"
PAGES = [
    *(ROOT / "README.md", ROOT / "paper" / "networks" / "README.md"),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "tsnn_uq").rglob("*.md")),
]


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]], left: int = 1) -> str:
    """A table in Markdown, the first `left` columns aligned to the left."""
    header = list(header)
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def spread(mean: float, std: float, digits: int) -> str:
    """A mean and, where there is more than one seed, the standard deviation; empty where nothing was measured."""
    return " ± ".join(filter(None, (number(mean, digits), number(std, digits))))


def shown(row: pd.Series, measures: Iterable[Measure]) -> list[str]:
    """The values of a row, each in the unit and with the digits of its measure."""
    return [f"{measure.factor * row[measure.name]:.{measure.digits}f}" for measure in measures]


def counted(rows: DataFrame) -> DataFrame:
    """A summary of rows, and in ``NAME_count`` how many seeds have each measure."""
    groups = rows.groupby(group_keys(rows), sort=False, dropna=False)
    counts = groups[[name for name in MEASURES if name in rows]].count().add_suffix("_count")
    return summarize(rows).merge(counts, on=group_keys(rows))


def results_table(summary: DataFrame, columns: str) -> str:
    """Quality of each group of runs, one row a group of a summary from `counted`; means over fewer seeds say so."""
    names = columns.split()
    headings = [MEASURES[name].label for name in names]
    keys = {"dataset": "data", "family": "family", "quantized_part": "ternary", "method": "method", "seeds": "seeds"}
    keys |= {name: name for name in ("trained on", "T", "epochs") if name in summary}
    rows = []
    for _, group in summary.iterrows():
        cells = [str(group[key]) for key in keys]
        for name in names:
            column, digits = MEASURES[name].column, MEASURES[name].digits
            seeds = group.get(f"{name}_count")
            text = spread(group.get(f"{column}_mean"), group.get(f"{column}_std"), digits)
            cells.append(text if not text or seeds == group["seeds"] else f"{text} (n = {seeds})")
        rows.append(cells)
    return markdown([*keys.values(), *headings], rows, left=4)


def results_in_brief() -> str:
    """The dropout network on two data sets, for the README: each number before and after the temperature."""
    rows = pd.concat([read_results(RESULTS / f"{name}-fc.csv") for name in ("mnist", "fashion")])
    summary = counted(rows[rows["family"] == "dropout"])
    columns = "accuracy ece scaled_ece nll scaled_nll predictive_entropy mutual_information storage_bytes"
    return results_table(summary, columns)


def results() -> str:
    """All committed comparisons, with what each network was trained on and for how long."""
    summaries = []
    for source, rows in zip(SOURCES.listed["results"], SOURCES.comparisons, strict=True):
        (steps,), (epochs,) = rows["steps"].unique(), rows["epochs"].unique()
        trained = {"trained on": f"{source['train']:,}", "T": steps, "epochs": epochs}
        summaries.append(counted(rows).assign(**trained))
    columns = "accuracy nll ece scaled_ece aurc predictive_entropy mutual_information predictive_std sparsity"
    return results_table(pd.concat(summaries, ignore_index=True), columns)


def costs() -> str:
    """What quantization costs on each data set: differences from float with 95 % intervals, means over families."""
    cells = []
    for names, rows in quantization_costs(SOURCES.differences).groupby(["data", "part", "method"], sort=False):
        of, line = rows.set_index("measure"), [str(name) for name in names]
        for name in COST:
            digits = MEASURES[name].digits
            values = [f"{of[end][name]:+.{digits}f}" for end in ("mean", "low", "high") if name in of.index]
            line.append(f"{values[0]} ({values[1]} to {values[2]})" if values else "")
        cells.append(line)
    units = {"%": "points"}
    headings = [f"{MEASURES[name].heading} ({units.get(MEASURES[name].unit, MEASURES[name].unit)})" for name in COST]
    return markdown(["data", "ternary", "method", *headings], cells, left=3)


def doubt() -> str:
    """Networks' uncertainty against the entropy of people's answers on CIFAR-10, seed 0."""
    every = {}
    for part in ("all", "inner"):
        infix = "" if part == "all" else f"-{part}"
        rows = read_table(ROOT / "figures" / f"doubt-cifar10-vgg{infix}-seed0.csv")
        for method, of_method in rows[~rows["measure"].isin([CROSS_ENTROPY, GROUPED])].groupby("method", sort=False):
            every["none" if method == "float" else part, method] = of_method.set_index("measure")
    measures = list(every["none", "float"].index)
    cells = [
        [part, method, *(f"{rows['value'][m]:.3f} ({rows['low'][m]:.3f} to {rows['high'][m]:.3f})" for m in measures)]
        for (part, method), rows in every.items()
    ]
    return markdown(["ternary", "method", *measures], cells, left=2)


def corruption() -> str:
    """Means over kinds and severities of corruption, seed 0."""
    cells = []
    for name in ("cifar10-vgg", "cifar10-vgg-inner", "fashion-mnist-dropout"):
        rows = read_table(ROOT / "figures" / f"corruption-{name}-seed0.csv")
        data, part = rows["dataset"].iloc[0], rows["quantized_part"].iloc[0]
        for method, of_method in rows.groupby("method", sort=False):
            if method == "float" and part == "inner":
                continue
            clean, shifted = (of_method[of_method["severity"].eq(0) == is_clean] for is_clean in (True, False))
            cells.append([data, "none" if method == "float" else part, str(method)])
            for measure, factor, digits in (("error", 100, 1), ("scaled_ece", 100, 1), ("scaled_nll", 1, 2)):
                cells[-1] += [f"{factor * of[measure].mean():.{digits}f}" for of in (clean, shifted)]
    measures = [
        f"{name}, {of}" for name in ("error (%)", "scaled ECE (%)", "scaled NLL") for of in ("clean", "corrupted")
    ]
    return markdown(["data", "ternary", "method", *measures], cells, left=3)


def foreign() -> str:
    """AUROC of foreign sets, means over the sets: on CIFAR-10 for seed 0, on Fashion-MNIST over seeds."""
    columns = {}
    for rows in (SOURCES.beside("foreign-cifar10-vgg-seed0"), SOURCES.table("foreign-fashion")):
        for method, of in rows[rows["data"] != "mean"].groupby("method", sort=False):
            by_seed = of.groupby(["score", "seed"], sort=False)["auroc"].mean().mul(100).unstack("seed")
            columns[f"{rows['dataset'].iloc[0]}, {method}"] = {
                str(score): spread(values.mean(), values.std(), 1) for score, values in by_seed.iterrows()
            }
    scores = next(iter(columns.values()))
    cells = [[f"`{score}`", *(of[score] for of in columns.values())] for score in scores]
    return markdown(["score", *columns], cells)


def firing_rates() -> str:
    """Networks trained with the regularizer `rate`, by its weight."""
    rows = read_table(ROOT / "figures" / "firing-rates-mnist-dropout-seed0.csv")
    names = {"rate": 100, "accuracy": 100, "scaled_ece": 100, "operations_pj": 1e-6, "fetch-spikes_pj": 1e-6}
    cells = [
        [row["method"], f"{row['weight']:g}", *(f"{factor * row[name]:.2f}" for name, factor in names.items())]
        for _, row in rows.iterrows()
    ]
    header = "method, weight, firing rate (%), accuracy (%), scaled ECE (%), operations (µJ), fetch-spikes (µJ)"
    return markdown(header.split(", "), cells)


def stopping() -> str:
    """Steps saved under a promised loss, and what a decision then costs, on recordings of T = 300 steps."""
    cells = []
    for loss, infix in (("mean output", ""), ("every step", "-loss-every")):
        rows = read_table(ROOT / "figures" / f"stopping-nmnist-simulated-slayer-seed0{infix}.csv")
        for method, of_method in rows.groupby("method", sort=False):
            whole = of_method[of_method["rule"] == "all steps"].iloc[0]
            cells.append([loss, str(method), f"{100 * whole['accuracy']:.2f}"])
            for promise in (0.002, 0.01):
                row = of_method[(of_method["rule"] == "risk-control") & of_method["promise"].eq(promise)].iloc[0]
                cells[-1] += [f"{100 * row['saved']:.1f}", f"{100 * row['accuracy_gap']:.2f}"]
            cells[-1] += [f"{1e-6 * one['fetch-spikes_pj']:,.0f}" for one in (whole, row)]
    header = ["loss on", "method", "accuracy, all steps (%)"]
    header += [f"{what}, at most {points} points" for points in ("0.2", "1") for what in ("saved (%)", "lost")]
    return markdown([*header, "µJ, all steps", "µJ, at most 1 point"], cells, left=2)


def regularizers() -> str:
    """Terms in the finals on MNIST."""
    return _finals("finals")


def regularizers_dropconnect() -> str:
    """Terms in the finals of `dropconnect` on MNIST."""
    return _finals("finals-dropconnect")


def regularizers_fashion() -> str:
    """Terms in the finals on Fashion-MNIST."""
    return _finals("finals-fashion")


def _finals(key: str) -> str:
    """Terms in the finals, direct ternary networks, temperatures set."""
    rows = SOURCES.table(key)
    rows = rows[(rows["method"] == "direct") & (rows["calibration"] == "temperature")]
    means = rows.groupby(["family", "regularizer"], sort=False).mean(numeric_only=True).reset_index()
    names = ["predictive_variance_correct", "predictive_variance_wrong", "accuracy", "ece", "aurc"]
    measures = [MEASURES[name] for name in (*names, *foreign_columns(rows.columns))]
    cells = [[f"`{row['family']}`", f"`{row['regularizer']}`", *shown(row, measures)] for _, row in means.iterrows()]
    return markdown(["family", "term", *(measure.label for measure in measures)], cells, left=2)


def regularizer_choice() -> str:
    """Terms in the order of what they gain on the validation splits of all screenings, where each was run."""
    screenings = [read_stage(path) for path in sorted(RESULTS.glob("regularizer-screening*.csv"))]
    ranked = chosen_everywhere(*screenings)
    groups = list(ranked.columns[4:-1])
    ranked = ranked.dropna(subset=groups)
    percent = ranked[["gain", *groups]].mul(100).map("{:.1f}".format)
    cells = [
        [f"`{row['regularizer']}`", *gains, row["loses"]]
        for (_, row), gains in zip(ranked.iterrows(), percent.to_numpy().tolist(), strict=True)
    ]
    return markdown(["term", "mean (%)", *(f"{group} (%)" for group in groups), "loses"], cells)


def posteriors() -> str:
    """Posteriors on MNIST beside networks with dropout masks, as they are."""
    return _posteriors("posteriors")


def posteriors_fashion() -> str:
    """The same on Fashion-MNIST."""
    return _posteriors("posteriors-fashion")


def _posteriors(key: str) -> str:
    rows = SOURCES.table(key)
    rows = rows[rows["calibration"] == "none"]
    groups = rows.groupby("method", sort=False)
    means = groups.mean(numeric_only=True).assign(seeds=groups["seed"].nunique()).reset_index()
    names = ["accuracy", "nll", "ece", *foreign_columns(rows.columns, 1), "sparsity"]
    measures = [MEASURES[name] for name in names]
    cells = [[row["method"], str(row["seeds"]), *shown(row, measures)] for _, row in means.iterrows()]
    return markdown(["samples from", "seeds", *(measure.label for measure in measures)], cells)


def methods() -> str:
    """How much ternary networks differ from float ones on MNIST, by training method: means with 95 % intervals."""
    rows = read_table(RESULTS / "posterior-mnist-fc.csv")
    rows = rows[rows["dataset"] == "all"].set_index(["method", "measure"])
    digits = {"accuracy": 2, "ece": 2, "predictive_entropy": 3, "predictive_variance": 4}
    cells = []
    for method in rows.index.unique("method"):
        of_method = [(rows.loc[(method, name)], digits[name]) for name in digits]
        texts = [
            f"{row['difference_mean']:+.{n}f} ({row['low']:+.{n}f} to {row['high']:+.{n}f})" for row, n in of_method
        ]
        cells.append([f"`{method}`", *texts])
    return markdown(["method", "accuracy (points)", "ECE (points)", "predictive entropy (nats)", "variance"], cells)


def layers() -> str:
    """What it costs to make only some layers ternary: direct networks and the float ones they are compared with."""
    rows = pd.concat([read_results(RESULTS / f"{name}.csv") for name in ("cifar10", "plif")])
    summary = counted(rows[rows["method"].isin(["float", "direct"])])
    return results_table(summary, "accuracy scaled_ece storage_bytes sparsity")


RATIOS = ROOT / "tests" / "benchmarks" / "results.csv"
WORKS = {
    "train-spikes-T20": "training step, spikes in (T = 20, batch 128)",
    "train-constant-T20": "training step, constant current",
    "train-plif-T4": "training step, convolutional PLIF (T = 4, batch 32)",
    "mc-dropout-S32": "`mc_predict`, S = 32, batch 256",
    "ternary-batch256": "ternary inference, batch 256",
    "ternary-batch1": "ternary inference, batch 1",
    "ternary-stopping": "ternary inference, batch 256, stopping early",
    "mc-ternary-stopping-S32": "ternary Monte Carlo, stopping early",
    "ternary-plif-batch32": "ternary PLIF network, batch 32",
    "ternary-plif-batch1": "ternary PLIF network, batch 1",
    "ternary-vgg-batch32": "ternary VGG for CIFAR-10, batch 32",
    "ternary-vgg-batch1": "ternary VGG for CIFAR-10, batch 1",
    "mc-ternary-dropout-S32": "ternary Monte Carlo, dropout",
    "mc-ternary-dropconnect-S32": "ternary Monte Carlo, dropconnect",
}
PEERS = {
    "snntorch": "snnTorch",
    "spikingjelly": "SpikingJelly",
    "norse": "Norse",
    "matmul floor": "products alone",
    "tsnn-uq dense": "ours, dense",
    "tsnn-uq float": "ours, float path",
    "tsnn-uq all steps": "ours, all steps",
    "snntorch compiled": "snnTorch, compiled",
    "spikingjelly compiled": "SpikingJelly, compiled",
    "tsnn-uq float compiled": "ours, float path, compiled",
}


IN_BRIEF = ("train-spikes-T20", "mc-dropout-S32", "ternary-batch256", "ternary-batch1", "ternary-vgg-batch32")
EAGER = ("snntorch", "spikingjelly", "norse", "tsnn-uq dense", "tsnn-uq float")


def shipped() -> str:
    """The shipped networks, with the rows that were measured of them."""
    cells = []
    for name in pretrained_names():
        folder = pretrained_folder(name)
        row = read_row(folder)
        size = (folder / WEIGHTS).stat().st_size / 1000
        measured = (MEASURES[measure].text(row[measure]) for measure in ("accuracy", "ece"))
        part = row["quantized_part"]
        cells.append([f"`{name}`", part, str(row["epochs"]), *measured, f"{size:,.0f}", row.get("version", "")])
    return markdown(["name", "ternary", "epochs", "accuracy", "ECE", "kB", "version"], cells, left=2)


def speed() -> str:
    """Times of other libraries as multiples of ours, of the works and contenders that were measured."""
    return _speed(read_table(RATIOS))


def speed_in_brief() -> str:
    """The same for some works, and without what is compiled."""
    rows = read_table(RATIOS)
    return _speed(rows[rows["work"].isin(IN_BRIEF) & rows["contender"].isin(("tsnn-uq", *EAGER))])


def _speed(rows: pd.DataFrame) -> str:
    peers = {name: title for name, title in PEERS.items() if name in set(rows["contender"])}
    works = {name: title for name, title in WORKS.items() if name in set(rows["work"])}
    rows = rows.set_index(["work", "contender"])
    table = []
    for work, title in works.items():
        seconds = rows.loc[(work, "tsnn-uq"), "median_seconds"]
        ours = f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
        ratios = [rows["ratio"].get((work, peer)) for peer in peers]
        table.append([title, ours, *("" if ratio is None else f"{ratio:.3g}" for ratio in ratios)])
    return markdown(["", "ours", *peers.values()], table)


def figures() -> str:
    """The scripts of analysis/, each with the first line of its docstring."""
    rows = []
    for script in sorted((ROOT / "analysis").glob("*.py")):
        title = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
        rows.append([f"`{script.name}`", title.partition("\n")[0]])
    return markdown(["script", "draws"], rows, left=2)


def gallery() -> str:
    """Every committed figure with the command that measured it and the function that draws it."""
    parts = []
    for name, entry in read_toml(ROOT / "figures" / "list.toml").items():
        title = (inspect.getdoc(getattr(figure_functions, entry["draw"])) or "").partition("\n")[0]
        parts.append(
            f"## {name}\n\n{title} Drawn by [`{entry['draw']}`](api/results_figures.md) from `figures/{name}.csv`.\n\n"
            f"```sh\n{entry['command']}\n```\n\n![{title.rstrip('.')}](../figures/{name}.png)"
        )
    return "\n\n".join(parts)


TABLES: dict[str, Callable[[], str]] = {
    make.__name__: make
    for make in (
        results,
        results_in_brief,
        costs,
        doubt,
        corruption,
        foreign,
        firing_rates,
        stopping,
        regularizers,
        regularizers_dropconnect,
        regularizers_fashion,
        regularizer_choice,
        posteriors,
        posteriors_fashion,
        methods,
        layers,
        shipped,
        speed,
        speed_in_brief,
        figures,
        gallery,
    )
}


def filled(text: str) -> str:
    """A page with each of its tables made again."""
    return re.sub(
        r"<!-- table (\w+) -->\n.*?<!-- end -->",
        lambda found: f"<!-- table {found[1]} -->\n{TABLES[found[1]]()}\n<!-- end -->",
        text,
        flags=re.DOTALL,
    )


def main() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if filled(text) != text:
            write_text(page, filled(text))


if __name__ == "__main__":
    main()
