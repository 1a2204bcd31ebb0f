"""What the report is made from: the tables of results/ that `sources.toml` lists, and which of them are there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.tables import read_results, summarize
from tsnn_uq.files import read_toml

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
        """What ``sources.toml`` says."""
        return read_toml(self.paper / "sources.toml")

    @cached_property
    def rows(self) -> pd.DataFrame:
        """All measured rows, one for each trained network; not one missing file, but none at all is an error."""
        tables = []
        for source in self.listed["results"]:
            path = self.results / source["file"]
            if path.exists():
                tables.append(read_results(path))
        if not tables:
            raise InputError(f"{self.results}: expected one of the files that sources.toml lists; got none")
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def settings(self) -> list[dict[str, Any]]:
        """The settings of the runs behind the rows, as far as they are kept beside them."""
        names = [name for source in self.listed["results"] for name in source.get("configs", ())]
        return [read_toml(self.results / name)["run"] for name in names if (self.results / name).exists()]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Mean and standard deviation over seeds, as `tsnn_uq.experiments.tables.summarize` gives them.

        Where a temperature was set for no row at all, its columns are there too, and empty.
        """
        rows = self.rows
        return summarize(rows.reindex(columns=[*rows.columns, *(name for name in SCALED if name not in rows)]))

    @cached_property
    def theirs(self) -> pd.DataFrame:
        """The authors' table."""
        return self.read(self.listed["theirs"])

    def read(self, name: str) -> pd.DataFrame:
        """A table of results/; lines that begin with # say where it comes from."""
        return pd.read_csv(self.results / name, comment="#", keep_default_na=False, na_values=[""])

    def table(self, key: str) -> pd.DataFrame | None:
        """The table that ``sources.toml`` lists under `key`, or None if it is not there."""
        name = self.listed[key]
        return self.read(name) if (self.results / name).exists() else None

    @cached_property
    def figures(self) -> dict[str, Path]:
        """Figures of analysis/ that are there, by name; the PDF, or else the PNG."""
        found = {}
        for name in self.listed["figures"]:
            files = [self.root / "figures" / f"{name}.{kind}" for kind in ("pdf", "png")]
            there = [file for file in files if file.exists()]
            if there:
                found[name] = there[0]
        return found

    @property
    def files(self) -> list[Path]:
        """Every file that the report depends on and that is there, but for those that the build itself writes."""
        names = [source["file"] for source in self.listed["results"]]
        names += [name for source in self.listed["results"] for name in source.get("configs", ())]
        names += [name for name in self.listed.values() if isinstance(name, str)]
        tables = [self.results / name for name in names if (self.results / name).exists()]
        typst = [self.paper / name for name in ("report.typ", "layout.typ", "references.bib", "sources.toml")]
        return [*tables, *typst, *self.figures.values()]
