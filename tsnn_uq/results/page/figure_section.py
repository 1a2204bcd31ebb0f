"""The section of figures: for each family and quantized part those of its runs, and what all cost and achieve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.storage import read_predictions
from tsnn_uq.results import figures, studies
from tsnn_uq.results.page.figure_catalog import PREDICTED_ANEW, STORED, DescribedFigure, FigureSource, draw_described
from tsnn_uq.results.page.folder_contents import ComparisonFolder, FolderContents
from tsnn_uq.results.page.inline_figures import inline_figure, inline_png
from tsnn_uq.results.page.page_tables import PairedTable, paired_tables
from tsnn_uq.results.paired_differences import NetworkTables
from tsnn_uq.results.tables import summarize

if TYPE_CHECKING:
    from pandas import Series

__all__ = ["FigureGroup", "PageFigure", "sections_of_predictions", "sections_of_runs"]


@dataclass(frozen=True)
class PageFigure:
    """A figure of the page.

    Args:
        title: what it is called.
        says: what it shows; where it could not be drawn, the reason.
        drawing: as HTML; None where it could not be drawn.
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
    """All figures, under headings; one that cannot be drawn of these runs is named with the reason."""
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
    """What networks achieve against what they cost, of each data set."""
    for data in dict.fromkeys(compared.data for compared in own):
        title = f"Accuracy and uncertainty against cost, {data}"
        chosen = [compared for compared in own if compared.data == data]
        say(title)
        table = studies.tradeoff_table(summarize([row for compared in chosen for row in compared.rows]))
        # Where all networks cost the same there is nothing to see.
        table = table[table.groupby("cost")["cost_value"].transform("nunique") > 1]
        if not len(table):
            yield PageFigure(title, "All networks cost the same.")
            continue
        says = (
            f"Means over seeds ({_span(table['seeds'])} a network) with sample standard deviations; the grey line "
            "joins networks that no other beats in both means. Predictive entropy has no such line, since neither more "
            f"nor less is better. N = {_inputs(chosen[0]):,} test inputs. Runs: all finished ones."
        )
        alt = f"{title}: {', '.join(dict.fromkeys(table['method']))}"
        yield PageFigure(title, says, inline_figure(figures.tradeoff_figure(table), f"{group}-{title}", alt))


def _of_samples(compared: ComparisonFolder, *, several: bool, say: Callable[[str], object]) -> Iterator[PageFigure]:
    """What more Monte Carlo samples are worth, and what they cost."""
    title = f"What more samples cost{f', {compared.name}' if several else ''}"
    say(title)
    table = studies.energy_curves(compared.folder)
    says = (
        "Accuracy, calibration error and negative log-likelihood of predictions of S = 1, 2, 4, ... Monte Carlo "
        f"samples against the energy of all S passes, of one test input; means over seeds ({_span(table['seeds'])} a "
        "network), bands are sample standard deviations. Each value is a mean over disjoint groups of S samples. "
        f"N = {_inputs(compared):,} test inputs. Runs: all finished ones."
    )
    alt = f"{title}: {', '.join(dict.fromkeys(table['method']))}"
    yield PageFigure(title, says, inline_figure(figures.energy_figure(table), f"{compared.name}-samples", alt))


def _of_posterior(folder: Path) -> Iterator[PageFigure]:
    """The posterior that `tsnn-uq compare --bayes` drew, if it did."""
    if (folder / "posterior.png").exists():
        title = "Posterior of the differences from float"
        says = "What bayes.csv in the folder has in numbers: differences, their 95 % intervals, and the region that "
        says += "counts as equal; of these families and this test set only."
        yield PageFigure(title, says, inline_png((folder / "posterior.png").read_bytes(), title))


def _inputs(compared: ComparisonFolder) -> int:
    """N."""
    return len(read_predictions(compared.first_run)[1])


def _span(values: Series[int]) -> str:
    low, high = values.min(), values.max()
    return str(low) if low == high else f"{low} to {high}"
