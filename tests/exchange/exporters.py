"""Networks of Norse, snnTorch and SpikingJelly that their own exporters write as graphs of NIR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.exchange.peers import IMAGE, INPUTS, SERIES, STEPS, VECTOR, over_time, quiet, seeded
from tests.helpers.peers import library
from tsnn_uq.state import rest


@dataclass
class Exported:
    """A graph by a library's own exporter, currents [T, N, ...], and what the network itself gives for them."""

    graph: Any
    currents: Tensor
    outputs: Tensor
    dt: float = 1e-4


def exported(library: str, nodes: str) -> Exported:
    """One of the networks of `EXPORTERS`."""
    with quiet(), seeded(), torch.no_grad():
        return EXPORTERS[library, nodes]()


def currents(shape: tuple[int, ...], scale: float = 2.0) -> Tensor:
    return scale * torch.rand(STEPS, INPUTS, *shape)


def snntorch_writes(make: Callable[[Any], list[nn.Module]], shape: tuple[int, ...]) -> Exported:
    """snnTorch computes spikes in float32."""
    snn = library("snntorch")
    from snntorch.export_nir import export_to_nir

    network, inputs = nn.Sequential(*make(snn)), currents(shape)
    graph = export_to_nir(network, inputs[0, :1], ignore_dims=[0])
    rest(network)
    return Exported(graph, inputs, torch.stack([network(current) for current in inputs]))


def leaky(snn: Any, shape: tuple[int, ...], **options: Any) -> nn.Module:
    """One value for each neuron, which snnTorch's exporter needs."""
    options = {"reset_mechanism": "zero", "reset_delay": False, **options}
    return snn.Leaky(beta=torch.full(shape, 0.7), threshold=torch.full(shape, 0.3), init_hidden=True, **options)


def synaptic(snn: Any, shape: tuple[int, ...]) -> nn.Module:
    alpha, beta = torch.full(shape, 0.5), torch.full(shape, 0.8)
    options = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
    return snn.Synaptic(alpha=alpha, beta=beta, threshold=torch.ones(shape), **options)


def ones(layer: nn.Module) -> nn.Module:
    layer.weight.copy_((20 * layer.weight).round().sign())
    return layer


def spikingjelly_writes(
    make: Callable[[Any, Any], list[nn.Module]], shape: tuple[int, ...], ties: bool = False
) -> Exported:
    library("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    network, inputs = nn.Sequential(*make(layer, neuron)).double(), currents(shape).double()
    inputs = inputs.round() / 2 if ties else inputs
    functional.set_step_mode(network, "m")
    graph = export_to_nir(network, inputs[:, :1])
    rest(network)
    return Exported(graph, inputs, network(inputs))


def norse_writes(
    make: Callable[[Any], list[nn.Module]],
    shape: tuple[int, ...],
    dt: float = 1e-3,
    correct: Callable[[Any], None] = lambda graph: None,
) -> Exported:
    """Norse writes dt times its time constants, so 1 is passed."""
    norse = library("norse.torch")
    network, inputs = norse.SequentialState(*make(norse)).double(), currents(shape).double()
    graph = norse.to_nir(network, inputs[0], dt=1.0)
    correct(graph)
    return Exported(graph, inputs, over_time(network, inputs), dt)


def box(norse: Any) -> nn.Module:
    return norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=torch.tensor(300.0), v_th=torch.tensor(0.15)))


def correct_w_in(graph: Any) -> None:
    """Norse's synapse has a gain of 1, but its exporter leaves out the w_in that says so."""
    for node in graph.nodes.values():
        if type(node).__name__ == "CubaLIF":
            node.w_in = node.tau_syn / 1e-3


EXPORTERS: dict[tuple[str, str], Callable[[], Exported]] = {
    ("Norse", "Affine, LIF"): lambda: norse_writes(
        lambda norse: [nn.Linear(24, 30), box(norse), nn.Linear(30, 10, bias=False), box(norse)], VECTOR
    ),
    ("Norse", "Conv2d, LIF"): lambda: norse_writes(lambda norse: [nn.Conv2d(2, 4, 3, stride=2), box(norse)], IMAGE),
    ("Norse", "Affine, IF (read with dt=1)"): lambda: norse_writes(
        lambda norse: [nn.Linear(24, 30), norse.IAFCell(), nn.Linear(30, 10), norse.IAFCell()], VECTOR, dt=1.0
    ),
    ("Norse", "Affine, CubaLIF (w_in = tau_syn / dt put right)"): lambda: norse_writes(
        lambda norse: [nn.Linear(24, 30), norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.2)))],
        VECTOR,
        correct=correct_w_in,
    ),
    ("Norse", "Affine, CubaLIF"): lambda: norse_writes(
        lambda norse: [nn.Linear(24, 30), norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.2)))], VECTOR
    ),
    ("Norse", "Affine, LI"): lambda: norse_writes(lambda norse: [nn.Linear(24, 10), norse.LIBoxCell()], VECTOR),
    ("snnTorch", "Affine, Linear, LIF"): lambda: snntorch_writes(
        lambda snn: [nn.Linear(24, 30), leaky(snn, (30,)), nn.Linear(30, 10, bias=False), leaky(snn, (10,))], VECTOR
    ),
    ("snnTorch", "Affine, LIF (reset_delay=True)"): lambda: snntorch_writes(
        lambda snn: [nn.Linear(24, 30), leaky(snn, (30,), reset_delay=True)], VECTOR
    ),
    ("snnTorch", 'Affine, LIF (reset_mechanism="subtract")'): lambda: snntorch_writes(
        lambda snn: [nn.Linear(24, 30), leaky(snn, (30,), reset_mechanism="subtract")], VECTOR
    ),
    ("snnTorch", "Affine, CubaLIF"): lambda: snntorch_writes(
        lambda snn: [nn.Linear(24, 30), synaptic(snn, (30,))], VECTOR
    ),
    ("snnTorch", "Conv2d, LIF, AvgPool2d, Flatten, Affine"): lambda: snntorch_writes(
        lambda snn: [
            *(nn.Conv2d(2, 4, 3, bias=False), leaky(snn, (4, 6, 6)), nn.AvgPool2d(2)),
            *(nn.Flatten(), nn.Linear(36, 10), leaky(snn, (10,))),
        ],
        IMAGE,
    ),
    ("SpikingJelly", "Affine, Linear, LIF (decay_input=True)"): lambda: spikingjelly_writes(
        lambda layer, neuron: [
            *(layer.Linear(24, 30), neuron.LIFNode(tau=3.0, v_threshold=0.4)),
            *(layer.Linear(30, 10, bias=False), neuron.LIFNode(tau=3.0, v_threshold=0.1)),
        ],
        VECTOR,
    ),
    ("SpikingJelly", "Affine, LIF (decay_input=False, v_reset=-0.2)"): lambda: spikingjelly_writes(
        lambda layer, neuron: [layer.Linear(24, 30), neuron.LIFNode(tau=3.0, decay_input=False, v_reset=-0.2)], VECTOR
    ),
    ("SpikingJelly", "Conv2d, IF, AvgPool2d, Flatten, Linear, LIF (parametric)"): lambda: spikingjelly_writes(
        lambda layer, neuron: [
            *(layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode(), layer.AvgPool2d(2, 2), layer.Flatten()),
            *(layer.Linear(64, 10, bias=False), neuron.ParametricLIFNode(init_tau=3.0, v_threshold=0.1)),
        ],
        IMAGE,
    ),
    ("SpikingJelly", "Linear of weights -1, 0 and 1, IF exactly at the threshold"): lambda: spikingjelly_writes(
        lambda layer, neuron: [ones(layer.Linear(24, 30, bias=False)), neuron.IFNode()], VECTOR, ties=True
    ),
    ("SpikingJelly", "Conv1d, CubaLIF"): lambda: spikingjelly_writes(
        lambda layer, neuron: [layer.Conv1d(2, 4, 3, dilation=2), neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75)],
        SERIES,
    ),
}
"""By library and nodes."""

DIFFERENT: dict[tuple[str, str], str] = {
    ("Norse", "Affine, CubaLIF"): "its exporter leaves out w_in, by which its neuron multiplies",
    ("snnTorch", 'Affine, LIF (reset_mechanism="subtract")'): "its exporter writes every reset as one to zero",
    (
        "SpikingJelly",
        "Linear of weights -1, 0 and 1, IF exactly at the threshold",
    ): "it fires at the threshold, and its exporter does not lower it",
}
"""Where a library's graph does not say what its network does."""
