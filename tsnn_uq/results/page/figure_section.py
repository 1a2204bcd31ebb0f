"""The section of figures: those of the runs of each family and quantized part, and those of quality against cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from markupsafe import Markup

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.storage import read_predictions
from tsnn_uq.results import figures, studies
from tsnn_uq.results.figures.captions import span
from tsnn_uq.results.page.figure_catalog import PREDICTED_ANEW, STORED, DescribedFigure, FigureSource, draw_described
from tsnn_uq.results.page.folder_contents import ComparisonFolder, FolderContents
from tsnn_uq.results.page.inline_figures import inline_figure, inline_png
from tsnn_uq.results.page.page_tables import PairedTable, paired_tables
from tsnn_uq.results.paired_differences import NetworkTables
from tsnn_uq.results.tables import summarize

__all__ = ["FigureGroup", "PageFigure", "sections_of_predictions", "sections_of_runs"]


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page.

    Args:
        title: its title.
        says: its description, or the reason why it could not be drawn.
        drawing: the figure as HTML; None if it could not be drawn.
    """

    title: str
    says: str
    drawing: Markup | None = None


@dataclass(frozen=True)
class FigureGroup:
    """Figures under a heading, which may be empty, after tables of differences between the networks in them."""

    heading: str
    figures: list[PageFigure]
    tables: Sequence[PairedTable] = ()


def sections_of_runs(
    contents: FolderContents,
    *,
    full: bool,
    data_dir: str | Path | None,
    device: str,
    reference: str = "",
    progress: Callable[[str, int, int], object],
) -> list[FigureGroup]:
    """All figures of runs, under headings; figures that cannot be drawn are listed with the reason."""
    drawn = STORED | PREDICTED_ANEW if full else STORED
    total = sum(len(drawn) * len(list(compared.shown())) for compared in contents.comparisons)
    total += sum(1 + bool(compared.rows) for compared in contents.comparisons)
    done = count()

    def say(title: str) -> None:
        progress(title, min(next(done), total), total)

    groups = []
    for group in contents.summaries():
        own = [compared for compared in contents.comparisons if compared.group == group and compared.rows]
        parts = [*_of_tradeoffs(group, own, say)]
        for compared in own:
            parts += _of_samples(compared, several=len(own) > 1, say=say)
        groups.append(FigureGroup(f"Gain against cost{f', regularizer {group}' if group else ''}", parts))
    groups.append(FigureGroup("", [*_of_posterior(contents.folder)]))
    for compared in contents.comparisons:
        for family, part, seed in compared.shown():
            runs = studies.require_runs(
                compared.folder,
                family=family,
                part=part,
                seed=seed,
                data_dir=data_dir,
                device=device,
                reference=reference,
            )
            where = f"{compared.name}: " if compared.name else ""
            shown, parts = FigureSource.of(runs), []
            for title, draw in drawn.items():
                say(f"{where}{runs.title}: {title}")
                parts.append(_of_runs(shown, title, draw, f"{compared.name}-{runs.title}"))
            tables = [*paired_tables(shown.tables)]
            groups.append(FigureGroup(f"{where}{runs.title}, seed {seed}", parts, tables))
    return groups


def sections_of_predictions(
    tables: NetworkTables,
    given: Mapping[str, Callable[[], DescribedFigure]],
    *,
    progress: Callable[[str, int, int], object],
) -> list[FigureGroup]:
    """The figures of `prediction_figures`, after tables; one that cannot be drawn is listed with what it needs."""
    networks, parts = tables.networks, []
    for done, (title, draw) in enumerate(given.items()):
        progress(title, done, len(given))
        try:
            drawn = draw()
        except InputError as error:
            parts.append(PageFigure(title, f"{error}."))
            continue
        alt = f"{title} of {', '.join(networks.names)}"
        says = f"{drawn.says}{_sizes(drawn, networks.samples)}"
        parts.append(PageFigure(title, says, inline_figure(drawn.figure, title, alt)))
    seeds = max(len(of) for of in networks.members.values())
    heading = "" if seeds == 1 else "Differences are of means over seeds; figures of the first seed of each network"
    return [FigureGroup(heading, parts, [*paired_tables(tables)])]


def _sizes(drawn: DescribedFigure, samples: int) -> str:
    """N and S of a figure."""
    sampled = f", S = {samples} samples" if drawn.sampled else ""
    return "" if drawn.inputs is None else f" N = {drawn.inputs:,} test inputs{sampled}."


def _of_runs(
    shown: FigureSource, title: str, draw: Callable[[FigureSource], DescribedFigure], where: str
) -> PageFigure:
    names = ", ".join(folder.name for folder in shown.runs.folders.values())
    try:
        drawn = draw_described(shown, draw)
    except InputError as error:
        return PageFigure(title, f"{error}.")
    alt = f"{title} of {', '.join(shown.runs.folders)}, {shown.runs.title}"
    says = f"{drawn.says}{_sizes(drawn, shown.samples)} Runs: {names}."
    return PageFigure(title, says, inline_figure(drawn.figure, f"{where}-{title}", alt))


def _of_tradeoffs(group: str, own: list[ComparisonFolder], say: Callable[[str], object]) -> Iterator[PageFigure]:
    """Quality of networks against their cost, a figure for each data set."""
    for data in dict.fromkeys(compared.data for compared in own):
        title = f"Accuracy and uncertainty against cost, {data}"
        chosen = [compared for compared in own if compared.data == data]
        say(title)
        table = studies.tradeoff_table(summarize([row for compared in chosen for row in compared.rows]))
        # Costs that are the same for all networks are left out.
        table = table[table.groupby("cost")["cost_value"].transform("nunique") > 1]
        if not len(table):
            yield PageFigure(title, "All networks cost the same.")
            continue
        says = (
            f"Means over seeds ({span(table['seeds'])} per network) with sample standard deviations. The grey line is "
            "the Pareto front of means. Predictive entropy has no front, since neither more nor less is better. "
            f"N = {_inputs(chosen[0]):,} test inputs. Runs: all finished ones."
        )
        alt = f"{title}: {', '.join(dict.fromkeys(table['method']))}"
        yield PageFigure(title, says, inline_figure(figures.tradeoff_figure(table), f"{group}-{title}", alt))


def _of_samples(compared: ComparisonFolder, *, several: bool, say: Callable[[str], object]) -> Iterator[PageFigure]:
    """Gain from more Monte Carlo samples against their cost."""
    title = f"What more samples cost{f', {compared.name}' if several else ''}"
    say(title)
    table = studies.energy_curves(compared.folder)
    says = (
        "Accuracy, calibration error and negative log-likelihood of predictions of S = 1, 2, 4, ... Monte Carlo "
        f"samples against the energy of all S passes for one test input. Means over seeds ({span(table['seeds'])} per "
        "network); bands are sample standard deviations. Each value is a mean over disjoint groups of S samples. "
        f"N = {_inputs(compared):,} test inputs. Runs: all finished ones."
    )
    alt = f"{title}: {', '.join(dict.fromkeys(table['method']))}"
    yield PageFigure(title, says, inline_figure(figures.energy_figure(table), f"{compared.name}-samples", alt))


def _of_posterior(folder: Path) -> Iterator[PageFigure]:
    """The figure of the posterior, if `tsnn-uq compare --bayes` has drawn it."""
    if (folder / "posterior.png").exists():
        title = "Posterior of the differences from float"
        says = "Differences with 95 % intervals and regions of practical equivalence, for these families and this test "
        says += "set only; bayes.csv in the folder has the numbers."
        yield PageFigure(title, says, inline_png((folder / "posterior.png").read_bytes(), title))


def _inputs(compared: ComparisonFolder) -> int:
    """Number of test inputs N."""
    return len(read_predictions(compared.first_run)[1])
