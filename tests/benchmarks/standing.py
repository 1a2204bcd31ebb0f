"""How each ratio stands against the committed one: ``python -m tests.benchmarks.standing [results.csv ...]``.

A ratio fell if it is more than 10 % below that of ``tests/benchmarks/results.csv`` as committed in most of the tables
given, by default in the table in the working tree. The command then ends with code 1.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

__all__ = ["standing"]

TABLE = Path(__file__).parent / "results.csv"
LEAST = 0.9  # of the committed ratio
KEYS = ["work", "contender"]


def standing(committed: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Committed ratios beside the median of those measured, how many of these fell, and the verdict."""
    measured = pd.concat(tables)[[*KEYS, "ratio"]].rename(columns={"ratio": "now"})
    rows = measured.merge(committed[[*KEYS, "ratio"]], on=KEYS, how="outer").rename(columns={"ratio": "committed"})
    rows["fell"] = rows["now"] < LEAST * rows["committed"]
    groups = rows.groupby(KEYS, sort=False)
    table = groups.agg(committed=("committed", "first"), now=("now", "median"), fell=("fell", "sum")).reset_index()
    runs = groups["now"].count().to_numpy()
    verdict = pd.Series("kept", index=table.index)
    verdict[2 * table["fell"] > runs] = "FELL"
    verdict[table["committed"].isna()] = "new"
    verdict[table["now"].isna()] = "not measured"
    return table.assign(verdict=verdict)


def main(paths: Sequence[str]) -> int:
    """Print the table; 1 if a ratio fell."""
    committed = subprocess.run(
        ["git", "show", f"HEAD:./{TABLE.name}"], cwd=TABLE.parent, capture_output=True, text=True, check=True
    ).stdout
    table = standing(pd.read_csv(io.StringIO(committed)), [pd.read_csv(path) for path in paths or [TABLE]])
    print(table.round(3).to_string(index=False))
    return int((table["verdict"] == "FELL").any())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
