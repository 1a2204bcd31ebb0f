"""Trained runs of each family in other libraries: how many spikes and decisions are the same.

`python -m tests.exchange.families RUN...` computes the table of docs/nir.md and writes it there; the runs are those of
`tsnn-uq train` with what the page says of each family.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.exchange.peers import PRECISION, READERS, our_spikes, their_outputs, their_spikes
from tests.exchange.table import PAGE, put, share
from tsnn_uq.exchange import to_nir
from tsnn_uq.experiments import load_network
from tsnn_uq.experiments.inputs import load_test
from tsnn_uq.experiments.settings import Settings
from tsnn_uq.files import write_text

COUNT, BATCH = 200, 20
GAP = "leaves AvgPool2d out, so that its graph has a gap"
NOT_READ = {("plif", "Norse"): GAP, ("vgg", "Norse"): GAP}


@torch.no_grad()
def rows(folder: Path) -> list[str]:
    """A row of the table for each library."""
    settings = Settings.load(folder / "config.toml")
    test = load_test(settings, settings.data.name)
    images, labels = test.images[:COUNT], test.labels[:COUNT]
    found = []
    for library in READERS:
        network = load_network(folder).eval().to(PRECISION[library])
        graph = to_nir(network.float(), images.shape[1:])
        network = network.to(PRECISION[library])
        right = same = alike = count = 0
        for batch, truth in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            currents = network[0](batch.to(PRECISION[library]))
            decided = network[1:](currents).mean(0).argmax(-1)
            right += int((decided == truth).sum())
            if (settings.family, library) in NOT_READ:
                continue
            same += int((their_outputs(library, graph, currents).mean(0).argmax(-1) == decided).sum())
            for ours, theirs in zip(
                our_spikes(network[1:], currents), their_spikes(library, graph, currents), strict=True
            ):
                alike, count = alike + int((ours == theirs).sum()), count + ours.numel()
        why = NOT_READ.get((settings.family, library))
        end = f"{why} | " if why else f"{share(alike, count)} | {share(same, COUNT)}"
        accuracy = f"{100 * right / COUNT:.1f} %"
        found.append(f"| {settings.data.name} | {settings.family} | {accuracy} | {library} | {end} |")
        print(found[-1], flush=True)
    return found


if __name__ == "__main__":
    head = "| data | family | right | library | equal spikes | same decisions |\n| --- | --- | --- | --- | --- | --- |"
    table = "\n".join([head, *(row for run in sys.argv[1:] for row in rows(Path(run)))]) + "\n"
    write_text(PAGE, put(PAGE.read_text(encoding="utf-8"), table, "families"))
