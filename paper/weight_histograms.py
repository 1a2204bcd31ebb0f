"""Histograms of trained weights for the figures of the methods, as counts, so that drawing does not need the runs.

python paper/weight_histograms.py runs/mnist-fc
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import numpy as np
import pandas as pd
import torch
import typer
from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.cli.main import run_command
from tsnn_uq.components.builtin import FACTORS
from tsnn_uq.experiments import Settings, load_network
from tsnn_uq.experiments.plan import run_folder
from tsnn_uq.experiments.storage import is_finished
from tsnn_uq.files import csv_text, write_text
from tsnn_uq.quantization import select_layers
from tsnn_uq.training import METHODS, Indirect

RESULTS = Path(__file__).parent / "results"
BINS = 81  # odd, so that zero is in the middle of a bin
SPAN = 6.0  # in mean magnitudes of the float network's layer


def histogram(weight: Tensor, fixed: Tensor, span: float) -> pd.DataFrame:
    """Counts of free and fixed weights in equal bins from -span to span; the outer bins include values beyond.

    Args:
        weight: any shape.
        fixed: whether each weight is fixed, boolean, same shape.
        span: positive number.

    Returns:
        A row for each bin: its borders ``low`` and ``high``, and the counts ``free`` and ``fixed``.
    """
    edges = np.linspace(-span, span, BINS + 1)
    values = weight.detach().double().clamp(-span, span)
    counts = {name: np.histogram(values[of].numpy(), edges)[0] for name, of in {"free": ~fixed, "fixed": fixed}.items()}
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], **counts})


def fix_first_share(network: nn.Module, config: Settings) -> dict[str, Tensor]:
    """Do the first quantization of the distilled method on a float network, in place; returns the fixed weights."""
    method = cast(Indirect, config.replace(method="indirect", start=0.0, factor=FACTORS["distill"]).make("method"))
    method.start(network, Tensor())
    method.after_step(network, 0.0)
    return method.fixed


def histograms(folder: Path, family: str, seed: int) -> pd.DataFrame:
    """Histograms of all layers of the float network, of the network with the first share fixed, and of ternary ones."""
    runs = {method: run_folder(folder, family, "all", method, seed) for method in METHODS}
    networks = {method: load_network(run) for method, run in runs.items() if is_finished(run)}
    if "float" not in networks:
        raise InputError(f"{folder}: expected a finished float run of {family}, seed {seed}; got {list(networks)}")
    networks["first share fixed"] = load_network(runs["float"])
    fixed = fix_first_share(networks["first share fixed"], Settings.load(runs["float"] / "config.toml"))
    tables = []
    for name, network in networks.items():
        layers = zip(select_layers(network).items(), select_layers(networks["float"]).values(), strict=True)
        for number, ((path, layer), original) in enumerate(layers, 1):
            weight = cast(Tensor, layer.weight)
            mean = cast(Tensor, original.weight).abs().mean().item()
            all_or_none = torch.full(weight.shape, name != "float")
            of_layer = fixed[path] if name == "first share fixed" else all_or_none
            table = histogram(weight, of_layer, SPAN * mean)
            tables.append(table.assign(family=family, network=name, layer=number))
    columns = ["family", "network", "layer", "low", "high", "free", "fixed"]
    return pd.concat(tables, ignore_index=True)[columns]


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of a comparison, as written by `tsnn-uq compare`.")],
    family: Annotated[str, typer.Option(help="Network family.")] = "dropout",
    seed: Annotated[int, typer.Option(help="Seed of the runs.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder of the table.")] = RESULTS,
) -> None:
    """Write weights-<folder>.csv: a row for each network, layer and bin."""
    path = out / f"weights-{folder.name}.csv"
    write_text(path, csv_text(histograms(folder, family, seed), float_format="%.6g"))
    print(path)


if __name__ == "__main__":
    run_command(main)
