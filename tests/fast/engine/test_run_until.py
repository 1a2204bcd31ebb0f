"""Inputs that stop in the engine, against a rule that sees the predictions of all steps, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.fast.engine.test_engine import SHAPE, convolutional
from tests.helpers.spiking import fill, seeded
from tsnn_uq.checks import InputError
from tsnn_uq.fast.engine import BACKENDS, Engine
from tsnn_uq.fast.engine.compiled import CompiledSteps
from tsnn_uq.networks import build
from tsnn_uq.readout import logits_over_time
from tsnn_uq.stopping import ConformalStopping, RiskControlledExit, Stopped, StoppingRule

IMAGES = torch.rand(23, *SHAPE, generator=seeded(5))


def fitted(probs: Tensor, score: str = "confidence") -> RiskControlledExit:
    """A rule under which inputs stop at different steps."""
    mean = probs if probs.dim() == 3 else probs.mean(0)
    rule = RiskControlledExit(0.5, 0.5, score).fit(probs, mean[-1].argmax(-1))
    assert rule.limits is not None
    if score == "confidence":
        rule.limits[:-1] = mean[:-1].amax(-1).amax(0).quantile(0.52) - 1  # at no score itself
    return rule


def require_equal(found: Stopped, wanted: Stopped) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


def connected(family: str = "dropout", **options: Any) -> nn.Module:
    return fill(build(family, sizes=(144, 70, 33, 10), steps=7, generator=seeded(0), **options))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "network",
    [connected(), connected(coding="latency"), connected(readout="spikes"), convolutional(), convolutional("fc")],
    ids=["constant", "latency", "spikes", "convolutional", "float convolutions"],
)
def test_inputs_stop_where_the_rule_stops_the_whole_run(network: nn.Module, backend: str) -> None:
    engine = Engine(network, SHAPE, backend=backend)
    probs = logits_over_time(engine(IMAGES)).softmax(-1)
    rule = fitted(probs)
    wanted = rule.stop(probs)
    assert 1 <= wanted.steps.min() < wanted.steps.max() == engine.steps
    require_equal(engine.run_until(rule, IMAGES, batch_size=10), wanted)
    require_equal(engine.run_until(rule, IMAGES), wanted)


@pytest.mark.parametrize(
    ("network", "backend"),
    [
        *((connected(mask=mask), backend) for mask in ("fixed", "per-step") for backend in BACKENDS),
        *((connected("dropconnect"), backend) for backend in BACKENDS),
        (connected(coding="rate"), "compiled"),
        *((convolutional(), backend) for backend in BACKENDS),
    ],
)
def test_samples_are_those_of_a_prediction_of_all_steps(network: nn.Module, backend: str) -> None:
    engine = Engine(network, SHAPE, backend=backend)
    given: dict[str, Any] = {"samples": 3, "batch_size": 12}
    probs = engine.mc_predict(IMAGES, generator=seeded(1), per_step=True, **given)
    rule = fitted(probs)
    wanted = rule.stop(probs)
    assert wanted.steps.min() < wanted.steps.max()
    del given["samples"]  # the rule knows
    require_equal(engine.run_until(rule, IMAGES, generator=seeded(1), **given), wanted)


def test_other_rules_and_the_mean_of_samples() -> None:
    engine = Engine(connected())
    probs = engine.mc_predict(IMAGES, samples=3, generator=seeded(1), per_step=True)
    for rule in (fitted(probs, "mutual-information"), ConformalStopping(0.4, 2).fit(probs, probs[0, -1].argmax(-1))):
        require_equal(engine.run_until(rule, IMAGES, generator=seeded(1)), rule.stop(probs))
    rule = fitted(probs.mean(0))
    require_equal(engine.run_until(rule, IMAGES, samples=3, generator=seeded(1)), rule.stop(probs))


def test_no_step_is_computed_that_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    whole = CompiledSteps._advance

    def counted(self: CompiledSteps, out: Any, outputs: Any, running: Tensor, step: int) -> None:
        computed.append(len(running))
        whole(self, out, outputs, running, step)

    monkeypatch.setattr(CompiledSteps, "_advance", counted)
    engine = Engine(connected())
    rule = fitted(logits_over_time(engine(IMAGES)).softmax(-1))
    steps = engine.run_until(rule, IMAGES).steps
    assert computed == [int((steps > step).sum()) for step in range(steps.max())]
    computed.clear()
    probs = engine.mc_predict(IMAGES, samples=3, generator=seeded(1), per_step=True)
    rule = fitted(probs)
    steps = engine.run_until(rule, IMAGES, generator=seeded(1)).steps
    # The layer before the first dropout, and then the others with all samples.
    assert computed == [int((steps > step).sum()) for step in range(steps.max()) for _ in range(2)]


def test_refuses_what_does_not_fit() -> None:
    engine = Engine(connected())
    probs = logits_over_time(engine(IMAGES)).softmax(-1)
    rule: StoppingRule
    for rule, options, message in [
        (RiskControlledExit(), {}, "expected fit before stop"),
        (fitted(probs[:-1]), {}, "stopping: expected a rule fitted on 7 steps"),
        (fitted(probs[..., :4].softmax(-1)), {}, "4 classes"),
        (fitted(probs.expand(3, -1, -1, -1)), {}, r"generator: expected a torch\.Generator"),
        (fitted(probs), {"samples": 0}, "samples: expected a positive whole number"),
        (fitted(probs), {"batch_size": 0}, "batch_size: expected a positive whole number"),
        (fitted(probs.expand(3, -1, -1, -1)), {"samples": 2, "generator": seeded(0)}, "expected 3 Monte Carlo samples"),
    ]:
        with pytest.raises(InputError, match=message):
            engine.run_until(rule, IMAGES, **options)
