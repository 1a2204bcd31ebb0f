"""Graphs of NIR as networks of ours: against Euler steps by hand, and refused by the node's name."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.peers import library
from tsnn_uq import training, uncertainty
from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.exchange import from_nir
from tsnn_uq.neurons import LIF
from tsnn_uq.quantization import freeze, ternarize

nir = library("nir")
DT = 1e-4


def array(value, *shape):
    return np.full(shape or (3,), float(value))


def chain_of(*nodes, shape=(3,)):
    """A graph of nodes in a row, listed and connected in an order that says nothing."""
    names = ["input", *(f"b.{len(nodes) - i}" for i in range(len(nodes))), "output"]
    edges = list(pairwise(names))
    members = dict(zip(names, [nir.Input(np.array(shape)), *nodes, nir.Output(np.array([1]))], strict=True))
    return nir.NIRGraph(dict(sorted(members.items())), edges[::-1], type_check=False)


def euler(node, currents):
    """What NIR's equations give in steps of DT, neuron by neuron."""
    kind = type(node).__name__
    v = np.broadcast_to(getattr(node, "v_leak", getattr(node, "v_reset", 0.0)), currents[0].shape).astype(float)
    synapse = np.zeros_like(v)
    outputs = []
    for current in currents:
        if kind.startswith("Cuba"):
            synapse = synapse + DT / node.tau_syn * (node.w_in * current - synapse)
            v = v + DT / node.tau_mem * (node.v_leak - v + node.r * synapse)
        elif kind in ("LIF", "LI"):
            v = v + DT / node.tau * (node.v_leak - v + node.r * current)
        else:
            v = v + DT * node.r * current
        if kind in ("IF", "LIF", "CubaLIF"):
            fires = v > node.v_threshold
            v = np.where(fires, node.v_reset, v)
            outputs.append(fires.astype(float))
        else:
            outputs.append(v)
    return np.stack(outputs)


NEURONS = {
    "LIF": lambda: nir.LIF(array(3e-4), array(2), array(0), array(0.8), array(0)),
    "LIF with another rest": lambda: nir.LIF(array(3e-4), array(2), array(-0.5), array(0.2), array(-0.5)),
    "LIF that forgets": lambda: nir.LIF(array(DT), array(1), array(0), array(0.8), array(0)),
    "IF": lambda: nir.IF(array(5000), array(0.8), array(0)),
    "IF with another reset": lambda: nir.IF(array(5000), array(0.1), array(-0.7)),
    "CubaLIF": lambda: nir.CubaLIF(array(2e-4), array(5e-4), array(3), array(0), array(0.6), array(0), array(1.5)),
    "I": lambda: nir.I(array(300)),
    "LI": lambda: nir.LI(array(4e-4), array(2), array(0)),
    "CubaLI": lambda: nir.CubaLI(array(2e-4), array(5e-4), array(3), array(0), array(1.5)),
}


@pytest.mark.parametrize("kind", NEURONS)
def test_neurons_are_euler_steps_of_the_equations(kind, generator):
    node = NEURONS[kind]()
    currents = 2 * torch.rand(20, 5, 3, generator=generator, dtype=torch.float64)
    network = from_nir(chain_of(node)).double()
    expected = torch.from_numpy(euler(node, currents.numpy()))
    torch.testing.assert_close(network(currents), expected)
    assert expected.abs().mean() > 0.05
    torch.testing.assert_close(network(currents), expected)  # it starts from rest once more


@pytest.mark.parametrize("kind", ["LIF", "IF", "CubaLIF"])
def test_potentials_at_the_threshold_do_not_fire_in_nir(kind):
    node = NEURONS[kind]()
    current = torch.full((1, 1, 3), 1.0)
    gain = {"LIF": 2 / 3, "IF": 0.5, "CubaLIF": 1.5 * 0.5 * 3 * 0.2}[kind]
    for threshold, fires in ((gain, 0.0), (gain * (1 - 1e-6), 1.0)):
        node.v_threshold = array(threshold)
        assert from_nir(chain_of(node))(current).eq(fires).all()


def test_the_time_step_is_the_callers_or_the_graphs():
    node = nir.LIF(array(1e-2), array(1), array(0), array(1), array(0))
    graph = chain_of(node)
    with pytest.raises(InputError, match="dt"):
        from_nir(graph, dt=0.1)
    assert from_nir(graph, dt=1e-3)[0].params.decay == pytest.approx(0.9)
    assert from_nir(graph)[0].params.decay == pytest.approx(0.99)
    graph.metadata = {"dt": 2e-3}
    assert from_nir(graph)[0].params.decay == pytest.approx(0.8)


def conv(groups=1, padding=(1, 0), kernel=(3, 2)):
    weight = np.random.default_rng(0).normal(size=(4, 2 // groups, *kernel)).astype(np.float32)
    return nir.Conv2d(None, weight, (2, 1), padding, (1, 2), groups, np.arange(4, dtype=np.float32))


LAYERS = {
    "Linear": (lambda: nir.Linear(np.eye(3, dtype=np.float32)), (3,), lambda x: x),
    "Affine": (lambda: nir.Affine(np.ones((1, 3)), np.ones(1)), (3,), lambda x: x.sum(-1, keepdim=True) + 1),
    "Conv2d": (conv, (2, 7, 6), None),
    "Conv2d in groups": (lambda: conv(groups=2), (2, 7, 6), None),
    "Conv2d valid": (lambda: conv(padding="valid"), (2, 7, 6), None),
    "Conv1d": (lambda: nir.Conv1d(None, np.ones((1, 2, 3)), 1, "same", 1, 1, np.zeros(1)), (2, 5), None),
    "SumPool2d": (
        lambda: nir.SumPool2d(np.array([2, 3]), np.array([2, 3]), np.array([0, 0])),
        (2, 4, 6),
        lambda x: x.unflatten(-1, (2, 3)).sum(-1).unflatten(-2, (2, 2)).sum(-2),
    ),
    "AvgPool2d": (
        lambda: nir.AvgPool2d(2, 2, 0),
        (2, 4, 6),
        lambda x: x.unflatten(-1, (3, 2)).mean(-1).unflatten(-2, (2, 2)).mean(-2),
    ),
    "Flatten": (lambda: nir.Flatten(np.array([2, 3, 4]), 0, -1), (2, 3, 4), lambda x: x.flatten(2)),
    "Flatten, from the end": (lambda: nir.Flatten(np.array([2, 3, 4]), -2, -1), (2, 3, 4), lambda x: x.flatten(3)),
    "Flatten of no known shape": (lambda: nir.Flatten(None, -2, -1), (2, 3, 4), lambda x: x.flatten(3)),
    "Flatten in front": (lambda: nir.Flatten(np.array([2, 3, 4]), 0, 1), (2, 3, 4), lambda x: x.flatten(2, 3)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_do_what_nir_says(kind, generator):
    make, shape, expected = LAYERS[kind]
    node, inputs = make(), torch.rand(2, 3, *shape, generator=generator)
    outputs = from_nir(chain_of(node, shape=shape))(inputs)
    if expected is None:
        convolve = torch.conv1d if len(shape) == 2 else torch.conv2d
        weight, bias = (torch.as_tensor(x, dtype=torch.float32) for x in (node.weight, node.bias))
        options = (node.stride, node.padding, node.dilation, node.groups)
        torch.testing.assert_close(outputs, convolve(inputs.flatten(0, 1), weight, bias, *options).unflatten(0, (2, 3)))
    else:
        torch.testing.assert_close(outputs, expected(inputs))


def linear(outputs=3, inputs=3):
    return nir.Linear(np.ones((outputs, inputs), dtype=np.float32))


def graph_of(nodes, edges):
    return nir.NIRGraph(nodes, edges, type_check=False)


def test_subgraphs_take_their_place():
    inner = graph_of(
        {"out": nir.Output(np.array([3])), "forward": linear(), "in": nir.Input(np.array([3]))},
        [("in", "forward"), ("forward", "out"), ("in", "forward")],
    )
    graph = graph_of(
        {"output": nir.Output(np.array([3])), "x": inner, "y.z": linear(), "input": nir.Input(np.array([3]))},
        [("y.z", "output"), ("x", "y.z"), ("input", "x")],
    )
    network = from_nir(graph)
    assert [name for name, _ in network.named_children()] == ["x_forward", "y_z"]
    assert network(torch.ones(1, 1, 3)).tolist() == [[[9.0, 9.0, 9.0]]]


def test_names_that_a_sequential_has_itself_are_changed():
    nodes = {"input": nir.Input(np.array([3])), "forward": linear(), "a.b": linear(), "a_b": linear()}
    network = from_nir(graph_of(nodes, [("input", "forward"), ("forward", "a.b"), ("a.b", "a_b")]))
    assert [name for name, _ in network.named_children()] == ["forward_", "a_b", "a_b_"]


IN, OUT = ("input", "a"), ("b", "output")
GRAPHS = {
    "recurrent": ([IN, ("a", "b"), ("b", "a"), OUT], {}, "recurrent connections; got a -> b -> a|b -> a -> b"),
    "itself": ([IN, ("a", "a"), ("a", "b"), OUT], {}, "recurrent connections; got a -> a"),
    "branching": ([IN, ("a", "b"), ("a", "output"), OUT], {}, "'a', which goes to 'b', 'output'"),
    "joining": ([IN, ("input", "b"), ("a", "output")], {}, "'input', which goes to 'a', 'b'"),
    "apart": ([IN, OUT], {}, "several first nodes: 'b', 'input'"),
    "unknown": ([IN, ("a", "c")], {}, "a -> c"),
    "delay": ([IN, ("a", "b"), OUT], {"b": nir.Delay(array(1))}, r"got Delay \('b'\)"),
    "scale": ([IN, ("a", "b"), OUT], {"b": nir.Scale(array(1))}, r"got Scale \('b'\)"),
    "left out": ([IN, ("a", "b"), OUT], {"b": None}, r"\('b'\) \(its exporter left"),
    "no output": ([IN, ("a", "b")], {"b": graph_of({"input": nir.Input(np.array([3]))}, [])}, "one Output in .* 'b'"),
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_graphs_that_are_no_chain_are_refused_by_name(kind):
    edges, changed, words = GRAPHS[kind]
    nodes = {"input": nir.Input(np.array([3])), "a": linear(), "b": linear(), "output": nir.Output(np.array([3]))}
    with pytest.raises(InputError, match=words):
        from_nir(graph_of({**nodes, **changed}, edges))


def lif(**changes):
    values = {"tau": 3e-4, "r": 1, "v_leak": 0, "v_threshold": 1, "v_reset": 0}
    return nir.LIF(**{name: np.asarray(changes.get(name, array(value))) for name, value in values.items()})


NODES = {
    "two time constants": (lambda: lif(tau=np.array([2e-4, 3e-4, 3e-4])), "tau: expected one"),
    "no time constant": (lambda: lif(tau=array(np.inf)), "tau: expected one finite"),
    "short": (lambda: lif(tau=array(1e-5)), "tau: expected at least the time step"),
    "no resistance": (lambda: lif(r=array(0)), "r: expected"),
    "reset elsewhere": (lambda: lif(v_leak=array(0.1)), "v_reset: expected the potential at rest"),
    "always on": (lambda: lif(v_threshold=array(-1)), "threshold: expected"),
    "leak": (lambda: nir.LI(array(1e-3), array(1), array(0.1)), "v_leak: expected 0"),
    "weight": (lambda: nir.Linear(np.ones((2, 3, 3))), "weight: expected two axes"),
    "padding": (lambda: nir.Conv1d(None, np.ones((1, 3, 3)), 2, "same", 1, 1, np.zeros(1)), "strided"),
    "groups": (lambda: nir.Conv1d(None, np.ones((3, 1, 3)), 1, 0, 1, 2, np.zeros(3)), "groups"),
}


@pytest.mark.parametrize("kind", NODES)
def test_nodes_without_a_counterpart_are_refused_by_name(kind):
    make, words = NODES[kind]
    with pytest.raises(InputError, match=rf"\('b.1'\): .*{words}"):
        from_nir(chain_of(make()))


def test_what_is_no_graph_is_refused():
    with pytest.raises(InputError, match="NIRGraph"):
        from_nir(nn.Linear(2, 2))


def test_loading_draws_no_random_numbers():
    before = torch.get_rng_state()
    from_nir(chain_of(linear(), conv()))
    assert torch.equal(torch.get_rng_state(), before)


def digits_network(generator):
    weights = [torch.randn(16, 12, generator=generator), torch.randn(3, 16, generator=generator)]
    first, second = (weight.numpy() for weight in weights)
    return from_nir(chain_of(nir.Linear(first), lif_of(16), nir.Linear(second), shape=(12,)))


def lif_of(count):
    return nir.LIF(*(array(value, count) for value in (3e-4, 1, 0, 0.5, 0)))


def test_a_network_from_a_graph_is_one_of_ours(generator):
    """Trained, ternarized, made stochastic, predicted with: with a coding before it, or on currents themselves."""
    network = nn.Sequential(Coding("constant", steps=4), digits_network(generator))
    images, labels = torch.rand(48, 12, generator=generator), torch.arange(48) % 3
    settings = training.FitSettings(epochs=2, batch_size=16)
    history = training.fit(network, (images, labels), seed=0, method=training.Direct(), settings=settings)
    assert history.loss[-1] < history.loss[0]
    freeze(network)
    imported = network[1]
    assert all(layer.weight.unique().numel() <= 3 for layer in imported if hasattr(layer, "weight"))
    uncertainty.make_stochastic(network, "dropout", p=0.3, layers=["1.b_1"])
    probs = uncertainty.mc_predict(network, images, samples=4, generator=generator)
    assert probs.shape == (4, 48, 3)
    assert probs.var(0).sum() > 0
    currents = images.expand(4, 48, 12)
    same = uncertainty.mc_predict(imported, currents, samples=4, generator=generator, batch_dim=1)
    assert same.shape == (4, 48, 3)


def test_gradients_are_those_in_the_units_of_nir(generator):
    """With the default surrogate around the graph's own threshold, though the gain is in ours."""
    network = from_nir(chain_of(lif(r=array(0.6), v_threshold=array(0.4)))).double()
    current = torch.rand(6, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(network(current).square().sum(), current)
    neurons: LIF = network[0]
    natural = LIF(type(neurons.params)(decay=neurons.params.decay, threshold=0.4 * (1 + 1e-9), reset="hard"))
    (expected,) = torch.autograd.grad(natural(0.2 * current).square().sum(), current)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_ternary_weights_stay_ternary_for_ternarize(generator):
    layer = nn.Linear(3, 3, bias=False)
    ternarize(layer)
    freeze(layer)
    network = from_nir(chain_of(nir.Linear(layer.weight.detach().numpy())))
    assert torch.equal(network[0].weight, layer.weight)
    assert network[0].bias is None
    before = network[0].weight.detach().clone()
    ternarize(network)
    torch.testing.assert_close(network[0].weight, before)
