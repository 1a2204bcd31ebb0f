from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.studies import tiny_runs
from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import load_network
from tsnn_uq.neurons import LIF, PLIF, SRM
from tsnn_uq.results.studies import layer_sparsity, potential_distribution, spike_trains
from tsnn_uq.results.studies.activity import hidden_rate
from tsnn_uq.state import rest

FAMILIES = ["dropout", "dropconnect", "slayer", "plif"]


def spikes_of(folder, images):
    """What the layers of neurons give, by forward hooks: spikes [T, N, neurons] of each."""
    network, seen = load_network(folder), []
    for module in network.modules():
        if isinstance(module, LIF | PLIF | SRM):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.flatten(2)))
    with torch.no_grad():
        outputs = network(images)
    return seen, outputs.mean(0).argmax(-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_rates_trains_and_zeros_are_those_of_the_network(family, tmp_path):
    runs = tiny_runs(tmp_path, family=family)
    images = data.load_test("digits").images[:70]
    sparsity, potentials = layer_sparsity(runs, inputs=70), potential_distribution(runs, inputs=70)
    trains = spike_trains(runs, index=3, neurons=5)
    for method, folder in runs.folders.items():
        spikes, predicted = spikes_of(folder, images)
        rates = [layer.mean(dtype=torch.float64).item() for layer in spikes]
        rows = sparsity[sparsity["method"] == method]
        assert rows.loc[rows["quantity"] == "spikes", "value"].tolist() == pytest.approx(rates)
        weights = [m.weight for m in load_network(folder).modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        zeros = [(weight == 0).sum().item() / weight.numel() for weight in weights]
        assert rows.loc[rows["quantity"] == "zero weights", "value"].tolist() == pytest.approx(zeros)

        drawn = potentials[potentials["method"] == method].groupby("layer", sort=False)
        assert drawn["rate"].first().tolist() == pytest.approx(rates)
        for (_, rows), rate in zip(drawn, rates, strict=True):
            assert rows["share"].sum() + rows["below"].iloc[0] + rows["above"].iloc[0] == pytest.approx(1)
            assert max(rows["below"].iloc[0], rows["above"].iloc[0]) <= 0.005
            above = rows.loc[rows["bin_low"] >= 1, "share"].sum() + rows["above"].iloc[0]
            assert above == pytest.approx(rate)  # the threshold is an edge

        one = trains[trains["method"] == method]
        assert set(one["predicted"]) == {int(predicted[3])}
        for (_, rows), layer in zip(one.groupby("layer", sort=False), spikes, strict=True):
            found = rows.pivot_table(index="step", columns="neuron", values="spike").to_numpy()
            chosen = rows["neuron"].unique()
            assert len(chosen) == min(5, layer.shape[2])
            assert (chosen[0], chosen[-1]) == (0, layer.shape[2] - 1)
            np.testing.assert_array_equal(found, layer[:, 3, chosen])
            assert rows["rate"].iloc[0] == pytest.approx(layer[:, 3].mean().item())
    assert set(trains["label"]) == {int(data.load_test("digits").labels[3])}
    assert set(sparsity["inputs"]) == set(potentials["inputs"]) == {70}


def test_potentials_in_a_bin_are_those_in_its_bounds(tmp_path):
    runs = tiny_runs(tmp_path, methods=("float",))
    network = load_network(runs.folders["float"])
    currents = []
    network[2].register_forward_hook(lambda _module, _inputs, output: currents.append(output.double()))
    with torch.no_grad():
        network(data.load_test("digits").images[:40])
    charged, potential = [], torch.zeros_like(currents[0][0])
    for step in currents[0]:  # decay 0.5, threshold 1, reset by subtraction
        potential = 0.5 * potential + step
        charged.append(potential)
        potential = potential - (potential >= 1).double()
    values = torch.stack(charged).flatten().numpy()
    for row in potential_distribution(runs, inputs=40).to_dict("records"):
        share = ((values >= row["bin_low"]) & (values < row["bin_high"])).mean()
        assert row["share"] == pytest.approx(share, abs=2 / len(values))  # rounding at an edge


def test_what_is_not_there_is_refused(tmp_path):
    runs = tiny_runs(tmp_path, methods=("float",))
    with pytest.raises(InputError, match="index: expected 0 to 359"):
        spike_trains(runs, index=360)
    with pytest.raises(InputError, match="inputs: expected a positive whole number"):
        layer_sparsity(runs, inputs=0)
    with pytest.raises(InputError, match="inputs: expected a positive whole number"):
        potential_distribution(runs, inputs=-1)
    assert set(layer_sparsity(runs, inputs=1000)["inputs"]) == {360}


def two_layers(neurons, many):
    """Two layers of neurons after linear ones, over four steps: all in one call, or step by step."""
    torch.manual_seed(0)
    first, second = nn.Linear(6, 5), nn.Linear(5, 3)
    with torch.no_grad():
        first.weight.mul_(4)
        second.weight.mul_(8)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([first, neurons[0], second, neurons[1]])

        def forward(self, images):
            inputs = images.expand(4, *images.shape)
            outputs = []
            for step in [inputs] if many else inputs:
                for layer in self.layers:
                    step = layer(step)
                    step = step[0] if isinstance(step, tuple) else step
                outputs.append(step)
            return outputs[0] if many else torch.stack(outputs)

    return Network()


def spikingjelly_neurons(mode):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    return neuron.IFNode(step_mode=mode), neuron.LIFNode(tau=2.0, step_mode=mode)


def snntorch_neurons(**options):
    snntorch = pytest.importorskip("snntorch")
    return snntorch.Leaky(beta=0.5, init_hidden=True, **options), snntorch.Leaky(beta=0.9, init_hidden=True, **options)


@pytest.mark.parametrize(
    ("neurons", "many"),
    [
        (lambda: (LIF(), LIF()), True),
        (lambda: spikingjelly_neurons("m"), True),
        (lambda: spikingjelly_neurons("s"), False),
        (snntorch_neurons, False),
        (lambda: snntorch_neurons(output=True), False),
    ],
    ids=["ours", "SpikingJelly, all steps", "SpikingJelly, each step", "snnTorch", "snnTorch with potentials"],
)
def test_spikes_of_any_librarys_neurons_are_counted(neurons, many):
    network = two_layers(neurons(), many).eval()
    images = torch.rand(70, 6, generator=torch.Generator().manual_seed(1))
    counted = [0, 0]
    for image in images.split(1):  # one by one, each from rest
        rest(network)
        step, (first, one, second, two) = image.expand(4, 1, 6), network.layers
        with torch.no_grad():
            for inputs in [step] if many else step:
                middle = one(first(inputs))
                middle = middle[0] if isinstance(middle, tuple) else middle
                last = two(second(middle))
                last = last[0] if isinstance(last, tuple) else last
                counted = [counted[0] + int(middle.sum()), counted[1] + int(last.sum())]
    assert min(counted) > 0
    assert hidden_rate(network, images) == pytest.approx(sum(counted) / (70 * 4 * (5 + 3)))


def test_a_network_without_neurons_is_one_line():
    with pytest.raises(InputError, match="model: expected neurons of tsnn_uq, snnTorch or SpikingJelly"):
        hidden_rate(nn.Linear(6, 2), torch.rand(3, 6))
