"""What the scripts of analysis/ measure on trained runs: each a function from runs to a table of numbers to draw."""

from tsnn_uq.studies.needed import Runs, require_runs

__all__ = ["Runs", "require_runs"]
