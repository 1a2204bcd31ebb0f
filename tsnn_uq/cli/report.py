"""The command that makes a page of a comparison, of runs or of anybody's predictions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from tsnn_uq.cli.main import USE, app, console, say_next
from tsnn_uq.cli.options import (
    Data,
    DataDir,
    Device,
    Network,
    Reference,
    Sources,
    follow_names,
    named_files,
    with_examples,
)

__all__ = ["report"]


@app.command(
    rich_help_panel=USE,
    **with_examples(
        "tsnn-uq report mnist --out mnist.html", "tsnn-uq report float=float.npz ternary=t0.npz,t1.npz --out page.html"
    ),
)
def report(
    sources: Sources,
    *,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
    full: Annotated[
        bool, typer.Option("--full", help="Add figures for which the networks predict anew: shifts, samples, spikes.")
    ] = False,
    network: Network = "",
    data: Data = "",
    reference: Reference = "",
    device: Device = "",
    data_dir: DataDir = None,
) -> None:
    """Make one HTML page of a comparison: tables, differences, figures, settings and what the measures mean.

    All of it is in the one file, which needs no network. Runs that are not finished are listed as such. Predictions of
    networks that were trained anywhere are compared under the names that they are given here: tsnn-uq report
    float=float.npz ternary=t0.npz,t1.npz. A file has arrays probs or logits [S, N, C], [N, C] or, over time,
    [S, T, N, C], and labels [N]; docs/arrays.md says what else it may have.
    """
    from tsnn_uq.checks import InputError
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.results.page import write_predictions_report, write_report
    from tsnn_uq.results.studies import read_named

    files = named_files(sources)
    if files is not None and full:
        raise InputError("full: expected the folder of a comparison, whose networks can be loaded; got predictions")
    follow_names("network", network)
    follow_names("data", data)
    with RunBars(console, train_share=0, title="page") as bars:
        progress = partial(bars, "page")
        if files is None:
            options: dict[str, Any] = {"full": full, "data_dir": data_dir, "device": device, "reference": reference}
            write_report(sources[0], out, **options, progress=progress)
        else:
            networks = read_named(files, reference=reference, data=data)
            paths = {name: [path.name for path in of] for name, of in files.items()}
            write_predictions_report(networks, out, sources=paths, progress=progress)
    console.print(f"wrote {out}", highlight=False, soft_wrap=True)
    say_next(f"open {out.resolve().as_uri()} in a browser")
