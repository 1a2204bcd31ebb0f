"""Risk-controlled exits against loops, and their promise by simulation where true risks are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from tests.helpers.strategies import mc_probabilities
from tests.stopping.worlds import draws, gap_losses, leave, population
from tsnn_uq.checks import InputError
from tsnn_uq.metrics.early_exit import sureness
from tsnn_uq.metrics.functional import brier_score, early_exit, mutual_information, predictive_entropy
from tsnn_uq.stopping import RiskControlledExit

RISKS = ["accuracy-gap", "disagreement", "brier-gap", "exited-error"]
EPSILON, DELTA, SIZE = 0.05, 0.1, 500
WORLD = population(2000, drift=1.8, sharpness=3.0)


def allowed(splits: int, delta: float = DELTA) -> int:
    """So many broken promises of `splits` happen with probability 1e-4, if each is broken with probability `delta`."""
    return int(binom.ppf(1 - 1e-4, splits, delta))


def losses_of(risk: str, probs: Tensor, labels: Tensor) -> Tensor:
    """Losses [T, N] by the definitions, from other metrics."""
    decisions = probs.argmax(-1)
    if risk == "accuracy-gap":
        return gap_losses(probs, labels)
    if risk == "disagreement":
        return (decisions != decisions[-1]).double()
    if risk == "exited-error":
        return (decisions != labels).double()
    brier = torch.stack([brier_score(now, labels, reduction="none") for now in probs.double()])
    return ((brier - brier[-1]) / 2).clamp_min(0)


def true_risks(rule: RiskControlledExit, sure: Tensor, losses: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean loss of those that leave by each step [T], how many those are [T], and the share of steps that is saved."""
    assert rule.thresholds is not None
    step = leave(sure, rule.thresholds)
    count = torch.bincount(step, minlength=len(sure)).cumsum(0)
    risks = torch.bincount(step, losses.gather(0, step[None])[0], len(sure)).cumsum(0) / count
    return risks, count, 1 - (step + 1.0).mean().item() / len(sure)


TURNED = torch.tensor([[0, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]], dtype=torch.bool)[..., None]
NEARLY_ONE = torch.where(TURNED, torch.tensor([1e-300, 1.0], dtype=torch.float64), torch.tensor([1.0, 0.0]).double())


@given(
    mc_probabilities(max_samples=4, max_inputs=6),  # samples serve as steps
    st.sampled_from(RISKS[:3]),
    st.sampled_from([0.3, 0.6, 0.9]),
    st.sampled_from([0.2, 0.5, 0.9]),
)
@example(NEARLY_ONE, "disagreement", 0.3, 0.9)
def test_threshold_against_loop(probs: Tensor, risk: str, epsilon: float, delta: float) -> None:
    steps, inputs, classes = probs.shape
    labels = torch.arange(inputs) % classes
    rule = RiskControlledExit(epsilon, delta, risk=risk).fit(probs, labels)
    losses, sure = losses_of(risk, probs, labels), sureness(probs[None], "confidence")  # of 1 and 1 - 1e-300, too
    wanted = torch.full((inputs,), steps - 1)  # where inputs leave
    for threshold in [math.inf, *sorted(sure[:-1].flatten().tolist(), reverse=True)]:
        step = leave(sure, torch.full((steps,), threshold, dtype=torch.float64))
        total = losses.gather(0, step[None]).sum().item()
        if risk != "brier-gap":
            p = binom.cdf(total, inputs, epsilon)
        else:
            a = min(total / inputs, epsilon)
            h = (a * math.log(a / epsilon) if a else 0) + (1 - a) * math.log((1 - a) / (1 - epsilon))
            p = min(math.exp(-inputs * h), math.e * binom.cdf(math.ceil(total - 1e-12), inputs, epsilon))
        if abs(p - delta) < 1e-9:
            return  # decided by rounding
        if p > delta:
            break
        wanted = step
    assert rule.stop(probs).steps.tolist() == (wanted + 1).tolist()


@pytest.mark.slow
def test_the_promise_is_kept_where_unguarded_exits_break_it() -> None:
    """1,000 calibration sets. Run this file for the numbers."""
    found = simulate(1000)
    assert found["broken"] <= allowed(1000)
    assert found["saved"] == pytest.approx(0.5, abs=0.06)
    assert found["broken, untested threshold"] > 400
    assert found["risk, early_exit at 0.95"] > 1.5 * EPSILON


def simulate(splits: int) -> dict[str, float]:
    """Promise, savings, and what a threshold without a test and the fixed threshold of `early_exit` do instead."""
    probs, labels = WORLD
    sure, losses = probs.amax(-1).double(), gap_losses(*WORLD)
    grid = torch.linspace(1, 0.3, 200, dtype=torch.float64)
    leaving = torch.stack([leave(sure, threshold.expand(len(sure))) for threshold in grid])
    lost = torch.stack([losses.gather(0, step[None])[0] for step in leaving])
    samples = draws(len(labels), SIZE, splits)
    # Without a test: the last threshold of the grid before the calibration set itself loses more than epsilon.
    weights = torch.stack([torch.bincount(split, minlength=len(labels)) for split in samples]).double()
    kept = (weights @ lost.T / SIZE <= EPSILON).long().cumprod(1).sum(1) - 1
    untested, untested_saved = lost.mean(1)[kept], 1 - (leaving[kept] + 1.0).mean() / len(sure)
    found = torch.zeros(splits, 2, dtype=torch.float64)
    for number, split in enumerate(samples):
        rule = RiskControlledExit(EPSILON, DELTA).fit(probs[:, split], labels[split], validate=False)
        risk, _, saved = true_risks(rule, sure, losses)
        found[number] = torch.tensor([risk[-1], saved])
    unguarded = early_exit(probs, labels, 1 - EPSILON)
    return {
        "splits": splits,
        "broken": (found[:, 0] > EPSILON).sum().item(),
        "mean risk": found[:, 0].mean().item(),
        "saved": found[:, 1].mean().item(),
        "broken, untested threshold": (untested > EPSILON).sum().item(),
        "mean risk, untested": untested.mean().item(),
        "saved, untested threshold": untested_saved.item(),
        "risk, early_exit at 0.95": losses.gather(0, unguarded.steps[None] - 1).mean().item(),
        "saved, early_exit at 0.95": 1 - unguarded.mean_steps.item() / len(probs),
    }


@pytest.mark.parametrize(
    ("options", "epsilon", "size", "least"),
    [
        ({}, 0.05, 200, 0.2),
        ({"risk": "disagreement"}, 0.1, 300, 0.3),
        ({"risk": "brier-gap"}, 0.05, 300, 0.2),
        ({"risk": "exited-error"}, 0.1, 400, 0.2),
        ({"conditional": True}, 0.1, 400, 0.2),
        ({"conditional": True, "risk": "exited-error"}, 0.2, 400, 0.2),
    ],
)
@pytest.mark.parametrize("levels", [0, 1])
def test_the_promise_of_other_risks_sizes_and_ties(
    options: dict[str, Any], epsilon: float, size: int, least: float, levels: int
) -> None:
    probs, labels = population(1500, steps=6, drift=3.0, levels=levels)
    sure, broken, saved, splits = probs.amax(-1).double(), 0, 0.0, 40
    losses = losses_of(options.get("risk", "accuracy-gap"), probs, labels)
    for split in draws(len(labels), size, splits):
        rule = RiskControlledExit(epsilon, DELTA, **options).fit(probs[:, split], labels[split], validate=False)
        risks, count, share = true_risks(rule, sure, losses)
        last = len(probs) - 1 if rule.risk == "exited-error" else len(probs)
        counted = risks[:last][count[:last] > 0] if rule.conditional else risks[last - 1 : last][count[last - 1] > 0]
        broken, saved = broken + (counted > epsilon).any().item(), saved + share
    assert broken <= allowed(splits)
    assert saved / splits > least


def test_leaving_first_is_no_riskier_only_if_conditional() -> None:
    """A single threshold keeps its promise on average, but loses most of those that leave after the first step."""
    probs, labels = population(1500, steps=6, drift=3.0, sharpness=6.0)
    split = draws(len(labels), 1000, 1)[0]
    risks = {}
    for conditional in (False, True):
        rule = RiskControlledExit(0.1, DELTA, conditional=conditional).fit(probs[:, split], labels[split])
        found = true_risks(rule, probs.amax(-1).double(), gap_losses(probs, labels))[0]
        risks[conditional] = found.nan_to_num().max().item()
    assert risks[True] <= 0.1 < risks[False]


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("risk", RISKS)
def test_few_inputs_and_one_step(risk: str, conditional: bool) -> None:
    """Nothing can be shown by one input, or by 28 at 0.1 and 0.05: never stop. One step is the whole run."""
    probs, labels = torch.tensor([0.9, 0.1]).expand(5, 28, 2), torch.zeros(28, dtype=torch.long)
    for size in (1, 2, 28):
        rule = RiskControlledExit(0.1, 0.05, risk=risk, conditional=conditional).fit(probs[:, :size], labels[:size])
        assert rule.stop(probs).steps.tolist() == [5] * 28
    rule = RiskControlledExit(0.1, 0.05, risk=risk, conditional=conditional).fit(probs[:1], labels)
    assert rule.stop(probs[:1]).steps.tolist() == [1] * 28
    if risk in ("accuracy-gap", "disagreement") and not conditional:  # (1 - 0.1)^29 < 0.05
        more = probs[:, :1].expand(5, 29, 2)
        rule = RiskControlledExit(0.1, 0.05, risk=risk).fit(more, torch.zeros(29, dtype=torch.long))
        assert rule.stop(more).steps.tolist() == [1] * 29


def test_nothing_is_promised_for_shifted_inputs() -> None:
    probs, labels = WORLD
    shifted = population(2000, drift=1.8, sharpness=6.0)
    sure, losses = shifted[0].amax(-1).double(), gap_losses(*shifted)
    broken = 0
    for split in draws(len(labels), SIZE, 20):
        rule = RiskControlledExit(EPSILON, DELTA).fit(probs[:, split], labels[split])
        broken += (true_risks(rule, sure, losses)[0][-1] > EPSILON).item()
    assert broken == 20


def test_equal_predictions_leave_together() -> None:
    """90 right and 10 wrong inputs look alike after step 1: either all leave, and a tenth loses, or none does."""
    probs = torch.tensor([[0.8, 0.2], [0.9, 0.1]])[:, None].repeat(1, 100, 1)
    probs[1, 90:] = torch.tensor([0.1, 0.9])
    labels = torch.tensor([0] * 90 + [1] * 10)
    for epsilon, steps in [(0.05, 2), (0.2, 1)]:
        rule = RiskControlledExit(epsilon, 0.1).fit(probs, labels)
        assert rule.stop(probs).steps.tolist() == [steps] * 100
        assert rule.stop(probs.half()).steps.tolist() == [steps] * 100  # no threshold is at a score itself


def test_scores(generator: torch.Generator) -> None:
    probs = (3 * torch.randn(4, 5, 60, 3, generator=generator, dtype=torch.float64)).softmax(-1)
    mean = probs.mean(0)
    ordered = mean.sort(-1, descending=True).values
    labels = mean[-1].argmax(-1)
    wanted = {
        "confidence": ordered[..., 0],
        "margin": ordered[..., 0] - ordered[..., 1],
        "entropy": -torch.stack([predictive_entropy(probs[:, t], reduction="none") for t in range(5)]),
        "mutual-information": -torch.stack([mutual_information(probs[:, t], reduction="none") for t in range(5)]),
    }
    for score, sure in wanted.items():
        assert torch.allclose(sureness(probs, score), sure - float(score in ("confidence", "margin")))
        rule = RiskControlledExit(0.3, 0.1, score).fit(probs, labels)
        assert rule.thresholds is not None
        assert rule.stop(probs).steps.tolist() == (leave(sure, rule.thresholds) + 1).tolist()
        assert rule.stop(probs).steps.min() < 5
    assert (
        RiskControlledExit(score="margin").fit(probs[..., :1] ** 0, labels * 0).stop(probs[..., :1] ** 0).steps.max()
        <= 5
    )


@pytest.mark.parametrize("score", ["confidence", "margin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_confidences_that_round_to_one_are_still_told_apart(score: str, dtype: torch.dtype) -> None:
    doubts = torch.logspace(-30, -20, 1000, dtype=torch.float64)  # of the first of two steps
    right = doubts < 10**-22.5  # three quarters of them
    first = torch.stack([torch.where(right, 1 - doubts, doubts), torch.where(right, doubts, 1 - doubts)], -1)
    probs = torch.stack([first, torch.tensor([1.0, 0.0]).expand(1000, 2)]).to(dtype)
    labels = torch.zeros(1000, dtype=torch.long)
    assert (probs.amax(-1) == 1).all()
    steps = RiskControlledExit(0.02, 0.05, score).fit(probs, labels).stop(probs).steps
    assert (steps[right] == 1).all()
    assert 0 < (steps[~right] == 1).sum() < 20  # an epsilon of 2 % allows some


@pytest.mark.parametrize("score", ["confidence", "margin", "entropy", "mutual-information"])
def test_early_exit_at_the_threshold_of_a_rule_stops_as_the_rule_does(score: str, generator: torch.Generator) -> None:
    probs = (2 * torch.randn(3, 6, 300, 4, generator=generator, dtype=torch.float64)).softmax(-1)
    labels = probs[:, -1].mean(0).argmax(-1)
    rule = RiskControlledExit(0.4, 0.1, score).fit(probs, labels)
    assert rule.thresholds is not None
    stopped = rule.stop(probs)
    sign = -1 if score in ("entropy", "mutual-information") else 1
    points = early_exit(probs, labels, sign * rule.thresholds[0].item(), score)
    assert torch.equal(points.steps, stopped.steps)
    assert points.accuracy == (stopped.decisions == labels).double().mean()
    assert 1 < points.mean_steps < 6


def test_seed_decides_the_halves() -> None:
    probs, labels = (part[..., :300, :] if part.dim() == 3 else part[:300] for part in WORLD)
    found = [RiskControlledExit(0.2, 0.1, conditional=True, seed=s).fit(probs, labels).thresholds for s in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_refuses_what_does_not_fit() -> None:
    for options, message in [
        ({"epsilon": 0}, "epsilon: expected a positive number"),
        ({"epsilon": math.nan}, "epsilon: expected"),
        ({"delta": 1.0}, "delta: expected 0 <= value < 1"),
        ({"score": "margins"}, "score: expected one of"),
        ({"risk": "gap"}, "risk: expected one of"),
    ]:
        with pytest.raises(InputError, match=message):
            RiskControlledExit(**options)
    probs, labels = torch.full((2, 3, 4), 0.25), torch.tensor([0, 1, 3])
    for bad in (probs, probs[None]):
        with pytest.raises(InputError, match="at least two Monte Carlo samples"):
            RiskControlledExit(score="mutual-information").fit(bad, labels)


if __name__ == "__main__":
    for name, value in simulate(1000).items():
        print(f"{name:28} {value:.4g}")
