"""Find the single chain of nodes in a NIR graph: nested graphs are expanded, any other structure is an error."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import Any

from tsnn_uq.checks import InputError, describe

__all__ = ["node_chain"]

Edges = list[tuple[str, str]]


def node_chain(graph: Any) -> list[tuple[str, Any]]:
    """List the nodes of a graph with their names, in the order of the data flow.

    The order of nodes and edges in the graph does not matter. Subgraphs are replaced by their nodes, with names such as
    ``"name.inner"``.

    Raises:
        InputError: the graph is not a chain: it is recurrent, branches, joins or is not connected.
    """
    if type(graph).__name__ != "NIRGraph":
        raise InputError(f"graph: expected a nir.NIRGraph; got {describe(graph)}")
    nodes, edges = _flatten_subgraphs(graph)
    sources: dict[str, list[str]] = {name: [] for name in nodes}
    targets: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        sources[target].append(source)
        targets[source].append(target)
    try:
        order = list(TopologicalSorter(sources).static_order())
    except CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise InputError(f"graph: expected no recurrent connections; got {cycle}") from error
    for name in order:
        for others, what in ((targets[name], "goes to"), (sources[name], "comes from")):
            if len(others) > 1:
                listing = ", ".join(map(repr, sorted(others)))
                raise InputError(f"graph: expected a chain of nodes; got {name!r}, which {what} {listing}")
    starts = [name for name in order if not sources[name]]
    if len(starts) != 1:
        listing = ", ".join(map(repr, sorted(starts))) or "no node"
        raise InputError(f"graph: expected one connected chain of nodes; got several first nodes: {listing}")
    return [(name, nodes[name]) for name in order]


def _flatten_subgraphs(graph: Any, prefix: str = "") -> tuple[dict[str, Any], Edges]:
    """Nodes and edges by their full names, with subgraphs replaced by their nodes and edges."""
    nodes: dict[str, Any] = {}
    edges: Edges = []
    first: dict[str, str] = {}  # for each node or subgraph, the full name of the node that incoming edges lead to
    last: dict[str, str] = {}  # and of the node that outgoing edges come from
    for name, node in graph.nodes.items():
        full = prefix + name
        first[name] = last[name] = full
        if type(node).__name__ == "NIRGraph":
            inner, inner_edges = _flatten_subgraphs(node, f"{full}.")
            nodes |= inner
            edges += inner_edges
            first[name] = _only_node(full, "Input", node.nodes.items())
            last[name] = _only_node(full, "Output", node.nodes.items())
        else:
            nodes[full] = node
    for source, target in dict.fromkeys(map(tuple, graph.edges)):  # some exporters write an edge twice
        if source not in last or target not in first:
            raise InputError(f"graph: expected edges between its nodes; got {prefix}{source} -> {prefix}{target}")
        edges.append((last[source], first[target]))
    return nodes, edges


def _only_node(subgraph: str, kind: str, nodes: Iterable[tuple[str, Any]]) -> str:
    names = [name for name, node in nodes if type(node).__name__ == kind]
    if len(names) != 1:
        raise InputError(f"graph: expected one {kind} in the subgraph {subgraph!r}; got {len(names)}")
    return f"{subgraph}.{names[0]}"
