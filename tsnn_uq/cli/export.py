"""The command that writes a trained run for other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import USE, app, console, quote, say_next
from tsnn_uq.cli.options import Network, follow_names, with_examples

__all__ = ["export"]


@app.command(rich_help_panel=USE, **with_examples("tsnn-uq export runs/dropout-all-direct-0 --out net.nir"))
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")],
    *,
    out: Annotated[Path, typer.Option(help="The file to write, such as net.nir.")],
    to: Annotated[
        str, typer.Option(help="Format: nir, for Norse, snnTorch, SpikingJelly, Sinabs, Nengo and others.")
    ] = "nir",
    network: Network = "",
) -> None:
    """Write the network of a run as a file that other libraries read.

    Ternary weights are written exactly. NIR knows no soft reset and no maximum pooling: train with --reset hard, and
    the plif network with --network.pooling average. tsnn-uq evaluate reads the file again.
    """
    from tsnn_uq.experiments.evaluation import export_run

    follow_names("network", network)
    nodes = export_run(folder, out, to=to)
    console.print(f"wrote {out}: {', '.join(nodes.values())}", highlight=False, soft_wrap=True)
    say_next(f"tsnn-uq evaluate {quote(out)} --dropout 0.1")
