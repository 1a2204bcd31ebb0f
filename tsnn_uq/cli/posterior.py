"""The command that infers a posterior of a trained run's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsnn_uq.cli.main import USE, app, console, print_values, quote_run, say_next
from tsnn_uq.cli.options import CheckpointSeconds, Data, DataDir, Device, Network, follow_names, with_examples

__all__ = ["posterior"]


@app.command(
    rich_help_panel=USE,
    **with_examples("tsnn-uq posterior runs/dropout-none-float-0 --kind laplace --out laplace"),
)
def posterior(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a trained run.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the draws and what was measured of them.")],
    kind: Annotated[
        str,
        typer.Option(help="ternary: over -1, 0, 1 of every weight; gaussian; laplace: of the last layer; or swag."),
    ] = "ternary",
    temperature: Annotated[
        float, typer.Option(help="Weight of the divergence from the prior; below 1 is a cold posterior.")
    ] = 0.01,
    epochs: Annotated[int, typer.Option(help="Passes over the training set.")] = 5,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate; 0 chooses one for the kind.")] = 0.0,
    noise: Annotated[
        str,
        typer.Option(help="What is drawn in training: outputs (exact or flipout, auto chooses by steps), or weights."),
    ] = "auto",
    samples: Annotated[int, typer.Option(help="Networks drawn.")] = 32,
    seed: Annotated[int, typer.Option(help="Seed of the inference and of the draws.")] = 0,
    network: Network = "",
    data: Data = "",
    device: Device = "",
    data_dir: DataDir = None,
    checkpoint_seconds: CheckpointSeconds = 20.0,
) -> None:
    """Infer a posterior over networks from a trained one, draw from it, and measure the uncertainty of the draws.

    If it is interrupted, the same command resumes it.
    """
    from tsnn_uq.cli.progress import RunBars
    from tsnn_uq.experiments import Context
    from tsnn_uq.experiments.bayesian import PosteriorSettings, posterior_of_run
    from tsnn_uq.files import require_writable

    follow_names("network", network)
    follow_names("data", data)
    settings = PosteriorSettings(kind, temperature, epochs, learning_rate, samples, seed, device, noise)
    require_writable(out)
    with RunBars(console, runs=1) as bars:
        values = posterior_of_run(run, settings, out, Context(data_dir, 1, checkpoint_seconds, bars))
    print_values(f"{out}", values)
    say_next(f"tsnn-uq evaluate {quote_run(run, 'network', 'data')}   # the run itself, to compare with")
