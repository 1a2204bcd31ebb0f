"""The result of a comparison: tables, figures, a folder of files, and its output in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsnn_uq.checks import InputError
from tsnn_uq.files import as_path, csv_text, file_name, require_writable, write_text
from tsnn_uq.results.paired_differences import NetworkTables
from tsnn_uq.results.prediction_files import write_prediction_file
from tsnn_uq.results.predictions import NamedPredictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from tsnn_uq.results.page.figure_catalog import DescribedFigure

__all__ = ["Comparison", "prediction_files"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Networks compared on the same inputs. Tables and figures are computed on first use.

    Attributes:
        predictions: what each network predicted.
        networks: the networks, by name.
        left_out: what could not be computed, such as the costs of a network or a figure, with the reason.
    """

    predictions: NamedPredictions
    networks: Mapping[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def _measured(self) -> NetworkTables:
        return NetworkTables(self.predictions)

    @cached_property
    def tables(self) -> dict[str, DataFrame]:
        """Tables by name.

        ``results`` has a row for each network. With two or more networks there are also ``differences`` from the
        reference, with paired bootstrap intervals, and ``mcnemar``, tests of equal accuracies.
        """
        import pandas as pd

        tables = {"results": pd.DataFrame(self._measured.rows)}
        if len(self.predictions.names) > 1:
            tables["differences"] = self._measured.differences
            tables["mcnemar"] = self._measured.mcnemar
        return tables

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """All figures that can be drawn from the predictions, by title; `left_out` says what the others need."""
        return {title: drawn.figure for title, drawn in self._drawn.items()}

    @cached_property
    def _draw(self) -> dict[str, Callable[[], DescribedFigure]]:
        """By title, a function that measures the figure on its first call and returns it again on later ones."""
        from tsnn_uq.results.page import prediction_figures

        return {title: cache(draw) for title, draw in prediction_figures(self._measured).items()}

    @cached_property
    def _drawn(self) -> dict[str, DescribedFigure]:
        drawn = {}
        for title, draw in self._draw.items():
            try:
                drawn[title] = draw()
            except InputError as error:
                self.left_out[title] = str(error)
        return drawn

    def save(self, folder: str | Path) -> Path:
        """Write everything to a folder, each file atomically.

        The folder gets a file of predictions for each network, which ``tsnn-uq report`` and the scripts of
        ``analysis/`` read; a CSV file for each table; each figure as PDF and PNG with its numbers as CSV, in
        ``figures``; and ``report.html``.

        Returns:
            The path of ``report.html``.

        Raises:
            InputError: the folder cannot be written.
        """
        from tsnn_uq.results.figures import save_plot
        from tsnn_uq.results.page import write_predictions_report

        folder = as_path(folder)
        require_writable(folder)
        files = prediction_files(folder, self.predictions.names)
        for name, (one,) in self.predictions.members.items():
            write_prediction_file(files[name], one)
        for name, table in self.tables.items():
            write_text(folder / f"{name}.csv", csv_text(table))
        for title, drawn in self._drawn.items():
            save_plot(self.figures[title], drawn.table, folder / "figures" / file_name(title).strip("-"))
        page = folder / "report.html"
        sources = {name: [path.name] for name, path in files.items()}
        write_predictions_report(self._measured, page, sources=sources, figures=self._draw)
        return page

    def _repr_html_(self) -> str:
        """Tables and figures, for a notebook."""
        from tsnn_uq.results.page.inline_figures import inline_figure

        parts = [f"<h3>{escape(', '.join(self.predictions.names))}</h3>"]
        for name, table in self.tables.items():
            parts.append(f"<h4>{escape(name)}</h4>{table.to_html(index=False, float_format=_short, na_rep='')}")
        for title, figure in self.figures.items():
            parts.append(f"<h4>{escape(title)}</h4>{inline_figure(figure, title, title)}")
        if self.left_out:
            listed = "".join(f"<li>{escape(what)}: {escape(why)}</li>" for what, why in self.left_out.items())
            parts.append(f"<h4>Left out</h4><ul>{listed}</ul>")
        return "\n".join(parts)


def _short(value: float) -> str:
    return f"{value:.4g}"


def prediction_files(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """The file of each network's predictions.

    Raises:
        InputError: two names give the same file.
    """
    files = {name: folder / f"{file_name(name).strip('-') or 'network'}.safetensors" for name in names}
    if len({str(path).lower() for path in files.values()}) < len(files):
        raise InputError(f"networks: expected names that give different files; got {', '.join(names)}")
    return files
