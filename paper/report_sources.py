"""The sources of the report: the tables of results/ and the figures that `sources.toml` lists."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.plan import Grid
from tsnn_uq.files import read_toml
from tsnn_uq.results.tables import read_results, read_table, summarize

__all__ = ["Sources", "sha256"]

SCALED = ("scaled_nll", "scaled_ece")


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Sources:
    """The inputs of the report.

    Args:
        root: the repository's folder.
    """

    root: Path

    @property
    def paper(self) -> Path:
        """The folder of the report."""
        return self.root / "paper"

    @property
    def results(self) -> Path:
        """The folder of measured rows."""
        return self.paper / "results"

    @cached_property
    def listed(self) -> dict[str, Any]:
        """The content of ``sources.toml``."""
        return read_toml(self.paper / "sources.toml")

    @cached_property
    def comparisons(self) -> list[pd.DataFrame]:
        """The measured rows of each comparison, one for each trained network."""
        return [read_results(self.results / source["file"]) for source in self.listed["results"]]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The rows of all comparisons."""
        return pd.concat(self.comparisons, ignore_index=True)

    @cached_property
    def settings(self) -> list[dict[str, Any]]:
        """All settings of the runs of the rows, one dictionary for each kind of run; see `Settings.flat`."""
        return [run.flat() for path in self._configs for run in Grid.load(path).runs() if run.seed == 0]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Mean and standard deviation over seeds; see `tsnn_uq.results.tables.summarize`.

        Columns of temperatures are always present, and empty if no row has a temperature.
        """
        rows = self.rows
        return summarize(rows.reindex(columns=[*rows.columns, *(name for name in SCALED if name not in rows)]))

    @cached_property
    def theirs(self) -> pd.DataFrame:
        """The authors' table."""
        return self.read(self.listed["theirs"])

    @cached_property
    def versions(self) -> dict[str, list[str]]:
        """Names of the tables of networks by the version that trained them, the latest first.

        Rows say it in their column ``version``; for those that do not, ``sources.toml`` says it. A table of several
        versions has the number of rows of each beside its name.

        Raises:
            InputError: neither says it.
        """
        listed = {name: version for version, names in self.listed["versions"].items() for name in names}
        found: dict[str, list[str]] = {}
        for name in (path.name for path in self._tables):
            table = self.read(name)
            if "seed" not in table:
                continue
            own = table.reindex(columns=["version"])["version"].astype(object)
            counts = own.where(own.notna(), listed.get(name, "")).value_counts()
            if "" in counts:
                wanted = f"a version of the networks in {name}, in its rows or under [versions]"
                raise InputError(f"paper/sources.toml: expected {wanted}; got none")
            for version, count in counts.items():
                rows = f": {count} of {len(table)} rows" if len(counts) > 1 else ""
                found.setdefault(str(version), []).append(f"{name.removesuffix('.csv')}{rows}")
        return dict(sorted(found.items(), reverse=True))

    def read(self, name: str) -> pd.DataFrame:
        """Read a table of results/, without lines that begin with #."""
        return read_table(self.results / name)

    def table(self, key: str) -> pd.DataFrame:
        """The table that ``sources.toml`` lists under `key`."""
        return self.read(self.listed[key])

    def beside(self, figure: str) -> pd.DataFrame:
        """The table beside a figure of analysis/."""
        return read_table(self.figures[figure].with_suffix(".csv"))

    @cached_property
    def differences(self) -> list[pd.DataFrame]:
        """The tables of differences from float networks, one for each data set."""
        return [self.beside(name) for name in sorted(self.figures) if name.startswith("differences-")]

    @property
    def figures(self) -> dict[str, Path]:
        """The figures of analysis/, by name."""
        return {name: self.root / "figures" / f"{name}.pdf" for name in self.listed["figures"]}

    @property
    def files(self) -> list[Path]:
        """Every file that the report depends on, except those that the build writes."""
        typst = [self.paper / name for name in ("report.typ", "layout.typ", "references.bib", "sources.toml")]
        drawn = [path.with_suffix(kind) for path in self.figures.values() for kind in (".pdf", ".csv")]
        return [*self._tables, *self._configs, *typst, *drawn]

    @property
    def _tables(self) -> list[Path]:
        names = [source["file"] for source in self.listed["results"]]
        return [self.results / name for name in (*names, *(n for n in self.listed.values() if isinstance(n, str)))]

    @property
    def _configs(self) -> list[Path]:
        return [self.results / name for source in self.listed["results"] for name in source.get("configs", ())]

    def require(self, made: Collection[Path] = ()) -> None:
        """Check that every file exists and is complete.

        Args:
            made: files that the build writes if they are missing.

        Raises:
            InputError: files are missing, empty or damaged; the message lists them.
        """
        problems = {path: _problem(path) for path in self.files if path not in made or path.exists()}
        found = [f"{path.relative_to(self.root)} ({problem})" for path, problem in problems.items() if problem]
        if found:
            remedy = "make figures draws figures; commands for tables are in paper/results/README.md"
            raise InputError(f"paper: expected all files that sources.toml lists; got {', '.join(found)}; {remedy}")


def _problem(path: Path) -> str:
    """The problem with a file, or an empty string."""
    if not path.is_file():
        return "missing"
    if not path.stat().st_size:
        return "empty"
    try:
        if path.suffix == ".csv" and not len(pd.read_csv(path, comment="#")):
            return "no rows"
        if path.suffix == ".toml":
            read_toml(path)
    except (InputError, ValueError):
        return "damaged"
    if path.suffix == ".pdf":
        content = path.read_bytes()
        return "" if content.startswith(b"%PDF") and b"%%EOF" in content[-1024:] else "damaged"
    return ""
