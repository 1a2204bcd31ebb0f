from __future__ import annotations

import statistics

import pytest
import torch

from tests.helpers.studies import tiny_runs
from tsnn_uq import data
from tsnn_uq.checks import InputError
from tsnn_uq.cost import count_layers
from tsnn_uq.experiments import load_network
from tsnn_uq.results.studies import Runs, stopping_curves
from tsnn_uq.results.studies.stopping import _left, _stopped
from tsnn_uq.stopping import RiskControlledExit

ACCOUNTINGS = ["fetch-all", "operations", "fetch-spikes"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return tiny_runs(tmp_path_factory.mktemp("comparison"), methods=("direct",), samples=2, steps=3, p=0.5)


def test_rows_of_rules_and_of_the_network_without_spikes(runs: Runs) -> None:
    table = stopping_curves(runs, epsilons=[0.2, 0.3], alphas=[0.3], thresholds=[0.2], delta=0.1, inputs=60)
    rules = ["risk-control", "risk-control", "conformal", "early-exit", "all steps", "8 bits", "2 bits"]
    assert table["rule"].tolist() == rules
    assert table["promise"].dropna().tolist() == [0.2, 0.3, 0.7, 0.2]
    assert set(table["inputs"]) == set(table["calibration"]) == {60}
    table = table.set_index("rule")
    whole = table.loc["all steps"]
    assert (whole["saved"], whole["accuracy_gap"], whole["mean_steps"]) == (0, 0, 3)
    layers = count_layers(load_network(runs.folders["direct"]), data.load("digits").test.images[:1])
    macs = sum(layer.macs for layer in layers)
    assert table.loc["8 bits", "fetch-all_pj"] == pytest.approx(2 * macs * 160.3)
    assert table.loc["2 bits", "operations_pj"] == pytest.approx(2 * macs * 0.1)
    kept = sum(layer.macs * (1 - layer.sparsity) for layer in layers)
    for rule in rules[:5]:  # every step and pass costs the same
        rows = table.loc[[rule]]
        assert rows["fetch-all_pj"].tolist() == pytest.approx((rows["mean_steps"] * 2 * kept * 40.9).tolist())
    assert table[[f"{name}_pj" for name in ACCOUNTINGS]].gt(0).all(axis=None)
    again = stopping_curves(runs, epsilons=[0.2, 0.3], alphas=[0.3], thresholds=[0.2], delta=0.1, inputs=60)
    assert again.set_index("rule").equals(table)


def test_networks_run_on_the_device_that_the_runs_name(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def network(_: Runs, method: str) -> torch.nn.Module:
        asked.append(method)
        return load_network(runs.folders[method])

    monkeypatch.setattr(Runs, "network", network)
    stopping_curves(runs, epsilons=[], alphas=[0.5], thresholds=[0.5], inputs=20)
    assert asked == ["direct"]


def test_measures_and_energies_by_loops(generator: torch.Generator) -> None:
    probs = (3 * torch.randn(4, 80, 3, generator=generator, dtype=torch.float64)).softmax(-1)
    labels = torch.randint(3, (80,), generator=generator)
    energy = {"operations": torch.rand(4, 80, generator=generator, dtype=torch.float64)}
    rule = RiskControlledExit(0.5, 0.2).fit(probs, probs[-1].argmax(-1))
    assert rule.thresholds is not None
    steps = rule.stop(probs).steps.tolist()
    assert min(steps) < max(steps)
    full = probs[-1].argmax(-1).tolist()
    left = [int(probs[t - 1, n].argmax()) for n, t in enumerate(steps)]
    each = [sum(energy["operations"][t, n].item() for t in range(s)) for n, s in enumerate(steps)]
    wanted = {
        "mean_steps": sum(steps) / 80,
        "steps_std": statistics.pstdev(steps),
        "saved": 1 - sum(steps) / 320,
        "accuracy": sum(a == y for a, y in zip(left, labels.tolist(), strict=True)) / 80,
        "accuracy_gap": sum(f == y != a for a, f, y in zip(left, full, labels.tolist(), strict=True)) / 80,
        "operations_pj": sum(each) / 80,
        "operations_pj_std": statistics.pstdev(each),
    }
    assert _left(probs, labels, rule.thresholds[0].item(), energy) == pytest.approx(wanted)
    assert _stopped(probs, labels, rule, energy) == pytest.approx(wanted | {"coverage": wanted["accuracy"]})


def test_options_are_checked(runs: Runs) -> None:
    for options, message in [({"delta": 2}, "delta"), ({"inputs": 0}, "inputs"), ({"alphas": [1.5]}, "alpha")]:
        with pytest.raises(InputError, match=f"{message}: expected"):
            stopping_curves(runs, **options)
