r"""Energy of a decision: in a spiking network step by step, and in the equivalent network without spikes.

Three accountings answer different questions, all with the numbers of Horowitz (ISSCC 2014) for 45 nm:

- ``"fetch-all"``: every weight is fetched from memory at every step, as in `tsnn_uq.cost.cost` and Wu et al. (Frontiers
  of Computer Science, doi:10.1007/s11704-025-51519-1). Silent inputs save nothing.
- ``"operations"``: memory is free, and only synaptic operations count, spikes times fan-out (Rueckauer et al. 2017,
  doi:10.3389/fnins.2017.00682): 0.9 pJ per addition and 4.6 pJ per multiplication with addition, float32, as in most
  of the literature (e.g. Rathi and Roy 2020, arXiv 2008.03658). Zero weights are added like others.
- ``"fetch-spikes"``: a weight is fetched and added once for each spike of its input.

None of them includes the reads and writes of membrane potentials at every step, which a network without spikes does not
have, or the routing of spikes. In this respect all three favour the spiking network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_positive, describe
from tsnn_uq.cost.layer_counts import LayerCount
from tsnn_uq.cost.network_cost import FLOAT_ADD_PJ, cost, fetch_pj
from tsnn_uq.cost.synaptic_operations import LayerActivity

__all__ = [
    "ACCOUNTINGS",
    "FLOAT_MULTIPLY_PJ",
    "break_even_rate",
    "conventional_energy",
    "decision_energy",
    "step_energy",
]

ACCOUNTINGS = ("fetch-all", "operations", "fetch-spikes")

# 45 nm, 0.9 V: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, Fig. 1.1.9.
FLOAT_MULTIPLY_PJ = 3.7  # float32
INTEGER_ADD_PJ = 0.1  # int32
INTEGER_MULTIPLY_PJ = 0.2  # int8

# By the bits of a weight. Activations are float32 with 32-bit weights, otherwise 8-bit integers with int32 sums. With a
# ternary weight, a MAC is an addition or a subtraction.
_CONVENTIONAL_PJ = {
    32: FLOAT_MULTIPLY_PJ + FLOAT_ADD_PJ,
    8: INTEGER_MULTIPLY_PJ + INTEGER_ADD_PJ,
    2: INTEGER_ADD_PJ,
}


def step_energy(
    layers: Sequence[LayerCount],
    activity: Sequence[LayerActivity],
    accounting: str,
    *,
    add_pj: float = FLOAT_ADD_PJ,
) -> Tensor:
    r"""Energy of each time step of each input.

    It is the sum over layers of

    .. math:: \text{fetch-all: } m (1 - z) (640 b / 32 + 0.9), \qquad
              \text{operations: } o_{tn} e, \qquad
              \text{fetch-spikes: } o'_{tn} (640 b / 32 + e) \text{ pJ}.

    Here :math:`o_{tn}` is the number of operations of the layer at step t of input n, :math:`o'_{tn}` the number of
    those whose weight is not zero, m the MACs per step, z the share of zero weights, and b the bits per weight (32
    float, 2 ternary). A float layer skips no zeros: z = 0 and :math:`o' = o`. An operation takes :math:`e` = 0.9 pJ, or
    4.6 pJ if the inputs are not spikes and the weights not ternary, since it then multiplies.

    Args:
        layers: from `count_layers`.
        activity: from `count_activity` for the same network.
        accounting: ``"fetch-all"``, ``"operations"`` or ``"fetch-spikes"``; see `tsnn_uq.cost.decision_energy`.
        add_pj: energy of an addition, unused by ``"fetch-all"``. Sums of ternary weights over spikes are whole
            numbers, and an int32 addition takes 0.1 pJ.

    Returns:
        pJ, float64 [T, N].

    Raises:
        InputError: the accounting is unknown, or `layers` and `activity` have different layers.

    Example:
        >>> from tsnn_uq.cost import count_activity, count_layers
        >>> layer, spikes = torch.nn.Linear(3, 5), torch.tensor([[[1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]]])
        >>> layers, activity = count_layers(layer, spikes), count_activity(layer, spikes)
        >>> for accounting in ACCOUNTINGS:
        ...     print(accounting, step_energy(layers, activity, accounting).flatten().tolist())
        fetch-all [9613.5, 9613.5]
        operations [9.0, 0.0]
        fetch-spikes [6409.0, 0.0]
    """
    check_choice("accounting", accounting, ACCOUNTINGS)
    check_positive("add_pj", add_pj)
    weighted = _weighted(layers)
    wanted, found = ([layer.name for layer in each] for each in (weighted, activity))
    if not wanted or wanted != found:
        raise InputError(f"activity: expected counts of {', '.join(wanted) or 'a layer'}; got {found}")
    energy = torch.zeros(activity[0].operations.shape, dtype=torch.float64)
    if accounting == "fetch-all":
        per_step = cost(layers, steps=1).energy_pj
        return energy + per_step
    for layer, counts in zip(weighted, activity, strict=True):
        multiplies = not counts.spiking and not layer.ternary
        operation = add_pj + multiplies * FLOAT_MULTIPLY_PJ
        if accounting == "operations":
            energy += counts.operations.double() * operation
        else:
            uses = counts.nonzero if layer.ternary else counts.operations
            energy += uses.double() * (fetch_pj(layer.bits) + operation)
    return energy


def decision_energy(energy: Tensor, steps: Tensor) -> Tensor:
    """Energy until each input stops: the sum over its first steps.

    Args:
        energy: of each step, [T, N].
        steps: time steps used, from 1 to T, [N]; e.g. those of `tsnn_uq.stopping.Stopped`.

    Returns:
        [N].

    Raises:
        InputError: the shapes do not match, or a number of steps is out of range.

    Example:
        >>> decision_energy(torch.tensor([[1.0, 1.0], [2.0, 5.0]]), torch.tensor([1, 2]))
        tensor([1., 6.])
    """
    if energy.dim() != 2 or steps.shape != energy.shape[1:]:
        raise InputError(f"steps: expected shape [N] beside energies [T, N]; got {describe(steps)}, {describe(energy)}")
    if steps.numel() and not 1 <= int(steps.min()) <= int(steps.max()) <= len(energy):
        raise InputError(f"steps: expected numbers from 1 to {len(energy)}; got {describe(steps)}")
    return energy.cumsum(0).gather(0, steps.long()[None] - 1)[0]


def conventional_energy(layers: Sequence[LayerCount], bits: int, accounting: str) -> float:
    """Energy of one inference of the network of the same shape without spikes, which runs once instead of T times.

    Each MAC fetches its weight of `bits` bits (not with ``"operations"``) and takes 4.6 pJ with 32 bits (float32), 0.3
    pJ with 8 (8-bit product, 32-bit sum) and 0.1 pJ with 2 (ternary: an 8-bit activation is added to a 32-bit sum). Two
    bits skip the zeros that a ternary layer of `layers` has, as `step_energy` does and under the same accountings.
    Zero activations, of which a ReLU network has many, are not skipped.

    Args:
        layers: from `count_layers`, of the spiking network.
        bits: 32, 8 or 2 bits per weight; spiking networks are usually compared with 32.
        accounting: as in `step_energy`; ``"fetch-all"`` and ``"fetch-spikes"`` are the same here.

    Returns:
        pJ.

    Raises:
        InputError: the accounting or the number of bits is unknown.

    Example:
        >>> layers = [LayerCount("fc", "fc", weights=1000, macs=1000, sparsity=0.5, ternary=True)]
        >>> [conventional_energy(layers, bits, "fetch-all") for bits in (8, 2)]
        [160300.0, 20050.0]
    """
    check_choice("accounting", accounting, ACCOUNTINGS)
    if bits not in _CONVENTIONAL_PJ:
        raise InputError(f"bits: expected one of {', '.join(map(str, _CONVENTIONAL_PJ))}; got {describe(bits)}")
    price = _CONVENTIONAL_PJ[bits] + (0 if accounting == "operations" else fetch_pj(bits))
    skips = bits == 2 and accounting != "operations"
    return sum(layer.macs * (1 - layer.sparsity * (skips and layer.ternary)) for layer in layers) * price


def break_even_rate(layers: Sequence[LayerCount], steps: float, bits: int, accounting: str) -> float:
    """The firing rate at which a decision costs as much energy as without spikes.

    A network that fires more often needs more than `conventional_energy`. All inputs of all layers are assumed to be
    spikes of the same rate, and border effects are neglected. If it is above 1, the spiking network always needs less.
    With a model of memory and routing, Yan et al. (2024, arXiv 2409.08290) find 5.7 % for T = 5.

    Args:
        layers: from `count_layers`, of the spiking network.
        steps: time steps until the decision; need not be whole.
        bits: bits per weight of the network without spikes.
        accounting: ``"operations"`` or ``"fetch-spikes"``.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> layers = [LayerCount("fc", "fc", weights=1000, macs=1000, sparsity=0.5, ternary=True)]
        >>> [round(break_even_rate(layers, 5, bits, "operations"), 3) for bits in (8, 2)]
        [0.067, 0.022]
        >>> [round(break_even_rate(layers, 5, bits, "fetch-spikes"), 3) for bits in (8, 2)]
        [1.568, 0.196]
    """
    check_positive("steps", steps)
    check_choice("accounting", accounting, ACCOUNTINGS[1:])
    full = [
        LayerActivity(
            name=layer.name,
            spiking=True,
            operations=torch.tensor([[float(layer.macs)]], dtype=torch.float64),
            nonzero=torch.tensor([[layer.macs * (1 - layer.sparsity)]], dtype=torch.float64),
        )
        for layer in _weighted(layers)
    ]
    return conventional_energy(layers, bits, accounting) / (steps * step_energy(layers, full, accounting).item())


def _weighted(layers: Sequence[LayerCount]) -> list[LayerCount]:
    """The layers with MACs."""
    return [layer for layer in layers if layer.kind != "other"]
