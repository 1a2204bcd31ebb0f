"""Which graphs of NIR give equal spikes in which library: the table of docs/nir.md.

`python -m tests.exchange.table` computes it again and writes it there.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from tests.exchange.exporters import DIFFERENT, EXPORTERS, exported
from tests.exchange.peers import NOT_READ, OURS, PRECISION, READERS, our_spikes, ours, their_spikes
from tsnn_uq.exchange import from_nir, to_nir
from tsnn_uq.files import write_text

PAGE = Path(__file__).parents[2] / "docs" / "nir.md"


@cache
def written(library: str, nodes: str) -> tuple[int, int]:
    """Equal spikes, and all, of one of our networks and its graph in another library."""
    network, currents = ours(nodes, PRECISION[library])
    graph = to_nir(network, currents.shape[2:])
    pairs = list(zip(our_spikes(network, currents), their_spikes(library, graph, currents), strict=True))
    return sum(int((a == b).sum()) for a, b in pairs), sum(a.numel() for a, _ in pairs)


@cache
@torch.no_grad()
def read(library: str, nodes: str) -> tuple[int, int, float]:
    """Equal outputs, all, and the largest difference, of another library's network and what we read from its graph."""
    theirs = exported(library, nodes)
    outputs = from_nir(theirs.graph, dt=theirs.dt).to(theirs.currents.dtype)(theirs.currents)
    equal = int((outputs == theirs.outputs).sum())
    return equal, outputs.numel(), (outputs - theirs.outputs).abs().max().item()


def table() -> str:
    """The table in Markdown."""
    rows = ["| library | direction | nodes | equal spikes |", "| --- | --- | --- | --- |"]
    for library in READERS:
        name = f"{library} {version(library.lower())}"
        for nodes in OURS:
            why = NOT_READ.get((library, nodes))
            rows.append(f"| {name} | reads ours | {nodes} | {why or share(*written(library, nodes))} |")
        for other, nodes in EXPORTERS:
            if other == library:
                equal, count, largest = read(library, nodes)
                if (library, nodes) in DIFFERENT:  # in percent, as the last digits are up to the processor
                    found = f"{100 * equal / count:.0f} %: {DIFFERENT[library, nodes]}"
                elif nodes.endswith("LI"):
                    found = "potentials, to 1e-7" if largest < 1e-7 else f"potentials, to {largest}"
                else:
                    found = share(equal, count)
                rows.append(f"| {name} | we read its | {nodes} | {found} |")
    return "\n".join(rows) + "\n"


def share(equal: int, count: int) -> str:
    return f"{equal:,} of {count:,}"


def put(page: str, table: str, name: str = "table") -> str:
    """The page with a table in its place, between comments with its name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, rest = page.split(begin)
    return before + begin + table + end + rest.split(end)[1]


if __name__ == "__main__":
    write_text(PAGE, put(PAGE.read_text(encoding="utf-8"), table()))
