"""The command that makes a page of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import app, console
from tsnn_uq.cli.options import Data, DataDir, Device, Network, follow_names

__all__ = ["report"]


@app.command()
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="RUNS", help="Folder that tsnn-uq compare or tsnn-uq reproduce wrote.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    full: Annotated[
        bool, typer.Option("--full", help="Add figures for which the networks predict anew: shifts, samples, spikes.")
    ] = False,
    network: Network = "",
    data: Data = "",
    device: Device = "",
    data_dir: DataDir = None,
) -> None:
    """Make one HTML page of a comparison: tables, figures, settings and what the measures mean.

    All of it is in the one file, which needs no network. Runs that are not finished are listed as such.
    """
    from tsnn_uq.results.page import write_report

    follow_names("network", network)
    follow_names("data", data)
    with console.status("reading", spinner="line") as status:
        write_report(folder, out, full=full, data_dir=data_dir, device=device, say=status.update)
    console.print(f"wrote {out}", highlight=False, soft_wrap=True)
