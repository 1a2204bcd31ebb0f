"""The cost of a network, layer by layer, as a table for a terminal."""

from __future__ import annotations

from rich.table import Table

from tsnn_uq.checks import InputError
from tsnn_uq.cost import Cost, LayerCount

__all__ = ["render_cost"]


def render_cost(layers: tuple[LayerCount, ...], total: Cost, state_bytes: int) -> Table:
    """Table of counts and costs with a row per layer and one for the total; the memory of neurons is in the caption.

    Raises:
        InputError: `layers` and `total` have different layers.
    """
    if [layer.name for layer in layers] != [layer.name for layer in total.layers]:
        raise InputError("total: expected the cost of the same layers; got that of other layers")
    table = Table(
        "layer",
        "kind",
        *("weights", "zero %", "MACs per step", "skipped %", "storage B", "FLOPs", "energy pJ"),
        caption=f"storage: weights; neurons also store {state_bytes:,} B of potentials per input",
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for layer, price in zip(layers, total.layers, strict=True):
        kind = f"{layer.kind}, ternary" if layer.ternary else layer.kind
        table.add_row(
            layer.name,
            kind,
            f"{layer.weights:,}",
            f"{100 * layer.sparsity:.2f}",
            f"{layer.macs:,}",
            f"{100 * price.skipped:.2f}",
            f"{price.storage_bytes:,}",
            f"{price.flops:,.0f}",
            f"{price.energy_pj:.4g}",
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        f"{sum(layer.weights for layer in layers):,}",
        f"{100 * total.sparsity:.2f}",
        f"{sum(layer.macs for layer in layers):,}",
        "",
        f"{total.storage_bytes:,}",
        f"{total.flops:,.0f}",
        f"{total.energy_pj:.4g}",
    )
    return table
