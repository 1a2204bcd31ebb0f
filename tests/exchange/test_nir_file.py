"""NIR files: what is written is what is read, also by nir itself; what is no such file is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.exchange.peers import OURS, our_spikes, ours
from tests.helpers.peers import library
from tsnn_uq.checks import InputError
from tsnn_uq.exchange import from_nir, read_nir, to_nir, write_nir

nir = library("nir")


def fields(node):
    return {name: value for name, value in node.to_dict().items() if name not in ("metadata", "input_type")}


@pytest.mark.parametrize("nodes", OURS)
def test_a_file_keeps_every_number(nodes, tmp_path):
    network, currents = ours(nodes, torch.float32)
    graph = to_nir(network, currents.shape[2:])
    write_nir(tmp_path / "net.nir", graph)
    assert [path.name for path in tmp_path.iterdir()] == ["net.nir"]
    square = "groups" not in nodes  # nir takes the channels of a group for those of the input
    for found in [read_nir(tmp_path / "net.nir"), *([nir.read(tmp_path / "net.nir")] if square else [])]:
        assert found.nodes.keys() == graph.nodes.keys()
        assert set(found.edges) == set(graph.edges)
        assert found.metadata == graph.metadata
        for name, node in graph.nodes.items():
            for field, value in fields(node).items():
                np.testing.assert_array_equal(fields(found.nodes[name])[field], value)
            for key, value in node.metadata.items():
                np.testing.assert_array_equal(found.nodes[name].metadata[key], value)
        again = from_nir(found)
        for before, after in zip(our_spikes(network, currents), our_spikes(flat(again), currents), strict=True):
            assert torch.equal(before, after)


def flat(network):
    """Without the Sequential of a synapse and its neurons."""
    layers = [part for layer in network for part in (layer if isinstance(layer, torch.nn.Sequential) else [layer])]
    return torch.nn.Sequential(*layers)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_nir(tmp_path / "none.nir")
    (tmp_path / "text.nir").write_text("no HDF5")
    with pytest.raises(InputError, match="damaged or of another format"):
        read_nir(tmp_path / "text.nir")
    write_nir(tmp_path / "net.nir", to_nir(*small()))
    whole = (tmp_path / "net.nir").read_bytes()
    (tmp_path / "part.nir").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="damaged or of another format"):
        read_nir(tmp_path / "part.nir")
    nir.write(tmp_path / "node.nir", nir.Linear(np.ones((2, 2))))
    with pytest.raises(InputError, match="damaged or of another format"):
        read_nir(tmp_path / "node.nir")


def small():
    network, currents = ours("Linear, LI", torch.float32)
    return network, currents.shape[2:]
