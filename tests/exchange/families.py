"""Trained runs of each family in other libraries: in how many test images they decide alike.

`python -m tests.exchange.families RUN...` prints a table; the runs are those of `tsnn-uq train` with what
docs/nir.md says of each family.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.exchange.peers import PRECISION, READERS, over_time, quiet
from tsnn_uq.exchange import to_nir
from tsnn_uq.experiments import load_network
from tsnn_uq.experiments.inputs import load_test
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.state import rest

COUNT = 200


@torch.no_grad()
def outputs_in(library: str, graph: Any, currents: Tensor) -> Tensor:
    """Outputs [T, N, C] of a graph in another library."""
    with quiet():
        module, explicit = READERS[library](graph, currents.dtype)
        if explicit:
            return over_time(module, currents)
        rest(module)
        outputs = [module(current) for current in currents]
    return torch.stack([output[0] if isinstance(output, tuple) else output for output in outputs])


@torch.no_grad()
def rows(folder: Path) -> list[str]:
    """A row of the table for each library."""
    settings, network = Settings.load(folder / "config.toml"), load_network(folder)
    test = load_test(settings, settings.data.name)
    images, labels = test.images[:COUNT], test.labels[:COUNT]
    graph = to_nir(network, images.shape[1:])
    decided = network(images).mean(0).argmax(-1)
    accuracy = (decided == labels).double().mean()
    found = []
    for library in READERS:
        currents = images.to(PRECISION[library]).expand(int(graph.metadata["steps"]), *images.shape)
        try:
            theirs = outputs_in(library, graph, currents).mean(0).argmax(-1)
            alike = f"{int((theirs == decided).sum())} of {COUNT}"
        except (AssertionError, NotImplementedError, RuntimeError, ValueError) as error:
            alike = f"not read: {type(error).__name__}"
        found.append(f"| {settings.data.name} | {settings.family} | {100 * accuracy:.1f} % | {library} | {alike} |")
    return found


if __name__ == "__main__":
    print("| data | family | accuracy | library | same decisions |\n| --- | --- | --- | --- | --- |")
    for run in sys.argv[1:]:
        print("\n".join(rows(Path(run))), flush=True)
