"""Storage, FLOPs and energy of one inference, from the counts of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.cost.layer_counts import LayerCount
from tsnn_uq.quantization.packing import packed_bytes

__all__ = ["DRAM_FETCH_PJ", "FLOAT_ADD_PJ", "Cost", "LayerCost", "cost", "fetch_pj"]

# 45 nm, 0.9 V: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, Fig. 1.1.9.
DRAM_FETCH_PJ = 640.0  # 32 bits
FLOAT_ADD_PJ = 0.9  # float32

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer: the share of its MACs that is skipped, and the quantities of `Cost`."""

    name: str
    skipped: float
    storage_bytes: int
    flops: float
    energy_pj: float


@dataclass(frozen=True)
class Cost:
    """Cost of a network.

    Args:
        sparsity: zero weights among all weights of the network, float ones included.
        storage_bytes: bytes of the stored network.
        flops: floating-point operations for one input, in ONE time step of ONE pass, as in the paper's table.
        energy_pj: pJ for one input, all time steps of all passes.
        layers: the same layer by layer; the entries add up to the totals.
    """

    sparsity: float
    storage_bytes: int
    flops: float
    energy_pj: float
    layers: tuple[LayerCost, ...]


def cost(layers: Sequence[LayerCount], *, steps: float, samples: int = 1, accounting: str = "layer") -> Cost:
    """Storage, FLOPs and energy of a network, from the counts of its layers.

    For a layer with ``bits`` bits per weight (32 float, 2 ternary) that skips the share ``skipped`` of its MACs:

        flops  = MACs (1 - skipped) x (2 float: multiply and add; 1 ternary: add)            one time step
        energy = samples x steps x MACs (1 - skipped) x (640 bits / 32 + 0.9) pJ              the whole inference

    A weight is fetched from DRAM at every use; the energy of the multiplication and of a bias is left out, and silent
    inputs save nothing. This reproduces the numbers of Wu et al. (Frontiers of Computer Science,
    doi:10.1007/s11704-025-51519-1), with the constants of Horowitz (ISSCC 2014).

    ``accounting="layer"`` counts each layer by itself: a ternary layer skips its zeros, a float layer nothing. It
    stores 32 bits per float weight, 2 bits per ternary weight (whole bytes per layer), 32 bits per scale and 32 bits
    for each bias or other parameter.

    ``accounting="paper"`` follows the paper: every layer skips the sparsity of the whole network, and only weights are
    stored, neither scales nor biases. In a partly ternary network this credits float layers with zeros they do not
    have.

    Args:
        layers: from `count_layers`, or made by hand.
        steps: time steps of one pass; need not be whole.
        samples: passes of one Monte Carlo prediction, S; multiplies only the energy.
        accounting: ``"layer"`` or ``"paper"``.

    Raises:
        InputError: an argument is out of range, or no layer has weights.

    Example:
        >>> ternary = LayerCount("fc", "fc", weights=1000, macs=1000, sparsity=0.5, ternary=True, scales=1)
        >>> total = cost([ternary], steps=10)
        >>> total.storage_bytes, total.flops, total.energy_pj
        (254, 500.0, 204500.0)
        >>> cost([ternary], steps=10, samples=3).energy_pj
        613500.0
    """
    check_positive("steps", steps)
    check_positive("samples", samples, integer=True)
    check_choice("accounting", accounting, ("layer", "paper"))
    weights = sum(layer.weights for layer in layers)
    if weights == 0:
        raise InputError(f"layers: expected at least one layer with weights; got {len(layers)} without")
    sparsity = sum(layer.sparsity * layer.weights for layer in layers) / weights
    as_paper = accounting == "paper"
    priced = []
    for layer in layers:
        # The zeros of a float layer are stored, fetched and added like any other number.
        skipped = sparsity if as_paper else layer.sparsity if layer.ternary else 0.0
        macs = layer.macs * (1 - skipped)
        energy = samples * steps * macs * (fetch_pj(layer.bits) + FLOAT_ADD_PJ)
        storage = _weight_bytes(layer) + (0 if as_paper else _FLOAT_BYTES * (layer.scales + layer.extras))
        priced.append(LayerCost(layer.name, skipped, storage, macs * (1 if layer.ternary else 2), energy))
    return Cost(
        sparsity=sparsity,
        storage_bytes=sum(layer.storage_bytes for layer in priced),
        flops=sum(layer.flops for layer in priced),
        energy_pj=sum(layer.energy_pj for layer in priced),
        layers=tuple(priced),
    )


def fetch_pj(bits: int) -> float:
    """Energy of fetching a weight of `bits` bits from DRAM, in pJ."""
    return DRAM_FETCH_PJ * bits / 32


def _weight_bytes(layer: LayerCount) -> int:
    return packed_bytes(layer.weights) if layer.ternary else _FLOAT_BYTES * layer.weights
