"""What a report says in words and tables."""

from __future__ import annotations

from tsnn_uq.experiments.storage import read_config, read_predictions, read_row
from tsnn_uq.results.measures import COSTS, QUALITY, SCALED
from tsnn_uq.results.page.contents import Compared, Contents
from tsnn_uq.results.page.html import Html, element, joined
from tsnn_uq.results.page.tables import layout_table, state_table, summary_table
from tsnn_uq.results.tables import read_table

__all__ = ["configuration", "introduction", "paper_layout", "progress", "results"]

_UNDETERMINED = (
    "The validation part does not determine the temperature of every run: where a network is never wrong on it, the "
    "likelihood rises up to the lower bound of the search, and where all its predictions are uniform, every "
    "temperature is as likely. Such temperatures are in no mean, nor are values scaled by one that ended at a bound. "
    "Brackets say how many of the seeds are left."
)


def introduction(contents: Contents) -> Html:
    """What was run, and how much of it is finished."""
    data = dict.fromkeys(compared.data for compared in contents.comparisons)
    parts = [element("h1", f"{contents.name}: spiking networks on {_listed(data)}")]
    parts += [element("p", _setting(compared)) for compared in contents.comparisons if compared.rows]
    left = contents.count("begun") + contents.count("not begun")
    if left:
        done = contents.count("finished")
        says = (
            f"Not complete: {done} of {done + left} runs are finished, and only those are in the tables and figures. "
        )
        parts.append(element("p", says, element("a", "Which are missing", href="#runs"), ".", class_="warning"))
    if contents.budget == "quick":
        says = "Quick budget: small networks on subsets, to see that everything works. The numbers mean little."
        parts.append(element("p", says, class_="warning"))
    for compared in contents.comparisons:
        if compared.tabled is not None and compared.tabled != len(compared.rows):
            where = f"{compared.name}/results.csv" if compared.name else "results.csv"
            says = f"{where} has {compared.tabled} rows, this page {len(compared.rows)} finished runs: "
            parts.append(element("p", says, "tsnn-uq compare writes it anew when all are done.", class_="warning"))
    return joined(parts)


def _setting(compared: Compared) -> str:
    kinds = [kind for kind, seeds in compared.seeds.items() if seeds["finished"]]
    run = compared.first_run
    config, row, (probs, labels) = read_config(run), read_row(run), read_predictions(run)
    families = _listed(dict.fromkeys(kind.family for kind in kinds))
    methods = _listed(dict.fromkeys(kind.method for kind in kinds))
    masks = {"fixed": " and masks fixed over the steps of a sample", "per-step": " and masks redrawn at each step"}
    drop = f" with p = {config['network.p']:g}" if "network.p" in config else ""
    drop += masks.get(config.get("network.mask", ""), "")
    what = f"{compared.name}: {families}" if compared.name else f"Families: {families}"
    text = (
        f"{what}; methods: {methods}; data set: {config['data']}. T = {row['steps']} time steps, S = {len(probs)} "
        f"Monte Carlo samples{drop}, N = {len(labels):,} test inputs, {config['epochs']} epochs"
    )
    term = config["regularizer"]
    return f"{text}." if term == "none" else f"{text}, uncertainty term {term}."


def _listed(names: object) -> str:
    *most, last = map(str, names)  # type: ignore[call-overload]
    return f"{', '.join(most)} and {last}" if most else last


def results(contents: Contents) -> Html:
    """Means and spreads over seeds of what networks achieve and of what they cost."""
    parts = []
    for group, summary in contents.summaries().items():
        of = f", regularizer {group}" if group else ""
        parts.append(summary_table(summary, QUALITY.values(), f"Accuracy, calibration and uncertainty{of}"))
        if "temperature_mean" in summary:  # not of runs of an older version
            parts.append(summary_table(summary, SCALED.values(), f"After temperature scaling{of}"))
            if "temperature_undetermined" in summary and summary["temperature_undetermined"].any():
                parts.append(element("p", _UNDETERMINED, class_="note"))
        parts.append(summary_table(summary, COSTS.values(), f"Size and cost{of}"))
    note = element(
        "p",
        "Mean ± sample standard deviation over n seeds; one seed has no spread. ↑ more is better, ↓ less is better; "
        "without an arrow neither is: an uncertainty by itself is not good or bad, it has to be high where the network "
        "is wrong. Measured on the test set with S Monte Carlo samples a prediction.",
        class_="note",
    )
    return joined([*parts, note])


def paper_layout(contents: Contents) -> Html:
    """Our rows in the layout of the paper's table, where the folder has them."""
    path = contents.folder / "table.csv"
    if not path.exists():
        return Html("")
    return layout_table(read_table(path, "a table as tsnn-uq compare writes it"))


def progress(contents: Contents) -> Html:
    """Which runs are finished and which are not."""
    return state_table(contents)


def configuration(contents: Contents) -> Html:
    """The comparisons' settings, folded."""
    blocks = []
    for compared in contents.comparisons:
        path = compared.folder / "config.toml"
        title = f"{compared.name}/config.toml" if compared.name else "config.toml"
        code = element("pre", element("code", path.read_text(encoding="utf-8")))
        blocks.append(element("details", element("summary", title), code))
    says = "The settings of all runs; tsnn-uq compare --config runs them again. A float run has no ternary settings."
    return joined([element("p", says), *blocks])
