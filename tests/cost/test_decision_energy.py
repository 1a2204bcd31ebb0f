"""Energy of a decision against loops over spikes, steps and weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError
from tsnn_uq.cost import (
    ACCOUNTINGS,
    LayerCount,
    break_even_rate,
    conventional_energy,
    cost,
    count_activity,
    count_layers,
    decision_energy,
    step_energy,
)
from tsnn_uq.quantization import freeze, ternarize


class Network(nn.Module):
    """Numbers into a float layer, spikes into a float one and into one that may be ternary; [T, N, 3] in."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 4), nn.Linear(4, 5, bias=False), nn.Linear(5, 2)

    def hidden(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spikes = (self.first(x) > 0).float()
        return spikes, (self.second(spikes) > 0).float()

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.hidden(x)[1])


def network(ternary: tuple[str, ...]) -> tuple[Network, Tensor]:
    generator = torch.Generator().manual_seed(3)
    model = Network()
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    model.second.weight.data[0, 1] = 0  # a float zero is fetched and added like other numbers
    if ternary:
        ternarize(model, ternary)
        freeze(model)
    return model, torch.randn(6, 4, 3, generator=generator)


@pytest.mark.parametrize("ternary", [(), ("third",), ("first", "second", "third")])
@pytest.mark.parametrize("accounting", ACCOUNTINGS)
def test_energy_of_each_step_is_that_of_its_operations(ternary: tuple[str, ...], accounting: str) -> None:
    model, inputs = network(ternary)
    found = step_energy(count_layers(model, inputs), count_activity(model, inputs), accounting)
    with torch.no_grad():
        given = [inputs, *model.hidden(inputs)]
    expected = torch.zeros(6, 4, dtype=torch.float64)
    for t in range(6):
        for n in range(4):
            for name, values in zip(("first", "second", "third"), given, strict=True):
                fetch = 640 * (2 if name in ternary else 32) / 32
                for row in getattr(model, name).weight.tolist():
                    for weight, value in zip(row, values[t, n].tolist(), strict=True):
                        skipped = name in ternary and weight == 0
                        silent = name != "first" and value == 0
                        product = 3.7 if name == "first" and name not in ternary else 0
                        if accounting == "fetch-all":
                            expected[t, n] += 0 if skipped else fetch + 0.9
                        elif accounting == "operations":
                            expected[t, n] += 0 if silent else 0.9 + product
                        else:
                            expected[t, n] += 0 if silent or skipped else fetch + 0.9 + product
    assert torch.allclose(found, expected, rtol=1e-12)


def test_all_fetches_are_the_energy_of_the_whole_inference() -> None:
    model, inputs = network(("second",))
    layers = count_layers(model, inputs)
    energy = step_energy(layers, count_activity(model, inputs), "fetch-all")
    assert energy.sum(0).tolist() == pytest.approx([cost(layers, steps=6).energy_pj] * 4)


def test_energy_until_a_decision(generator: torch.Generator) -> None:
    energy = torch.rand(7, 9, generator=generator, dtype=torch.float64)
    steps = torch.randint(1, 8, (9,), generator=generator)
    expected = [sum(energy[t, n].item() for t in range(steps[n])) for n in range(9)]
    assert decision_energy(energy, steps).tolist() == pytest.approx(expected)
    for bad, message in [(steps[:8], "shape"), (steps * 0, "from 1 to 7"), (steps + 7, "from 1 to 7")]:
        with pytest.raises(InputError, match=f"steps: expected .*{message}"):
            decision_energy(energy, bad)


LAYERS = (
    LayerCount("conv", "conv", weights=20, macs=400, sparsity=0.5, ternary=True),
    LayerCount("norm", "other", weights=0, macs=0, extras=4),
    LayerCount("fc", "fc", weights=100, macs=100, sparsity=0.25),  # zeros of floats
)


def test_the_network_without_spikes_runs_once() -> None:
    """By hand: 500 MACs; ternary weights skip the 200 of which the weight is zero."""
    assert conventional_energy(LAYERS, 8, "fetch-all") == pytest.approx(500 * (160 + 0.2 + 0.1))
    assert conventional_energy(LAYERS, 8, "operations") == pytest.approx(500 * 0.3)
    assert conventional_energy(LAYERS, 2, "fetch-spikes") == pytest.approx(300 * (40 + 0.1))
    assert conventional_energy(LAYERS, 2, "operations") == pytest.approx(500 * 0.1)
    assert conventional_energy(LAYERS, 32, "operations") == pytest.approx(500 * 4.6)
    with pytest.raises(InputError, match="bits: expected one of"):
        conventional_energy(LAYERS, 4, "operations")
    with pytest.raises(InputError, match="accounting: expected one of"):
        conventional_energy(LAYERS, 8, "paper")


@pytest.mark.parametrize("accounting", ACCOUNTINGS[1:])
@pytest.mark.parametrize("bits", [8, 2])
def test_at_the_break_even_rate_both_networks_cost_the_same(bits: int, accounting: str) -> None:
    """A layer of 1,000 inputs of which that share spikes at each of 40 steps."""
    layer = nn.Linear(1000, 8, bias=False)
    ternarize(layer)
    freeze(layer)
    layers = count_layers(layer, torch.zeros(1, 1000))
    rate = break_even_rate(layers, 40, bits, accounting)
    spikes = (torch.rand(40, 1, 1000, generator=torch.Generator().manual_seed(0)) < rate).float()
    energy = step_energy(layers, count_activity(layer, spikes), accounting).sum().item()
    assert energy == pytest.approx(conventional_energy(layers, bits, accounting), rel=0.1)


def test_counts_of_other_layers_are_refused() -> None:
    model, inputs = network(())
    layers, activity = count_layers(model, inputs), count_activity(model, inputs)
    for some, counts in [(layers[:2], activity), (layers, activity[1:]), ((), ())]:
        with pytest.raises(InputError, match="activity: expected counts"):
            step_energy(some, counts, "operations")
    renamed = (replace(layers[0], name="other"), *layers[1:])
    with pytest.raises(InputError, match="activity: expected counts of other"):
        step_energy(renamed, activity, "operations")
