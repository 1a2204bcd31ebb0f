"""Stable decisions and early exits against loops over inputs and steps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.strategies import mc_probabilities
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import EarlyExit, FirstStableStep
from tsnn_uq.metrics.functional import early_exit, first_stable_step

# The samples of these strategies serve as time steps: decisions repeat, and probabilities are 0, 1 and tied.
OVER_TIME = mc_probabilities(max_samples=6)


@given(OVER_TIME)
def test_stable_step_against_loop(probs: Tensor) -> None:
    steps = first_stable_step(probs)
    assert steps.dtype == torch.int64
    for n, step in enumerate(steps.tolist()):
        decisions = [row.index(max(row)) for row in probs[:, n].tolist()]
        stable = [t for t in range(1, len(decisions) + 1) if len(set(decisions[t - 1 :])) == 1]
        assert step == min(stable)


@given(
    OVER_TIME,
    st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.7, 1.0, 1.5]),
    st.sampled_from(["confidence", "margin", "entropy"]),
    st.integers(0, 3),
)
def test_exits_against_loop(probs: Tensor, threshold: float, score: str, label: int) -> None:
    target = torch.full((probs.shape[1],), label % probs.shape[2])
    points = early_exit(probs, target, threshold, score)
    steps, hits, reached = [], [], []
    for n in range(probs.shape[1]):
        for t, row in enumerate(probs[:, n].tolist(), start=1):
            *_, second, highest = [0.0, *sorted(row)]
            entropy = -sum(p * math.log(p) for p in row if p > 0)
            done = {
                "confidence": highest >= threshold,
                "margin": highest - second >= threshold,
                "entropy": entropy <= threshold,
            }[score]
            if done or t == len(probs):
                steps.append(t)
                hits.append(row.index(max(row)) == target[n])
                reached.append(done)
                break
    assert points.steps.tolist() == steps
    assert points.mean_steps.item() == pytest.approx(sum(steps) / len(steps))
    assert points.accuracy.item() == pytest.approx(sum(hits) / len(hits))
    assert points.reached.item() == pytest.approx(sum(reached) / len(reached))


def test_exits_by_mutual_information_against_loop(generator: torch.Generator) -> None:
    probs = (2 * torch.randn(4, 5, 40, 3, generator=generator, dtype=torch.float64)).softmax(-1)
    gains = torch.special.entr(probs.mean(0)).sum(-1) - torch.special.entr(probs).sum(-1).mean(0)
    threshold = gains.quantile(0.3).item()
    expected = [next((t for t, gain in enumerate(row, 1) if gain <= threshold), 5) for row in gains.T.tolist()]
    points = early_exit(probs, torch.zeros(40, dtype=torch.long), threshold, "mutual-information")
    assert points.steps.tolist() == expected
    assert len(set(expected)) == 5


@given(OVER_TIME)
def test_exits_come_later_the_surer_one_must_be(probs: Tensor) -> None:
    target = torch.zeros(probs.shape[1], dtype=torch.long)
    confident = [early_exit(probs, target, t).steps for t in (0.0, 0.3, 0.6, 0.9, 1.1)]
    certain = [early_exit(probs, target, t, "entropy").steps for t in (9.0, 1.0, 0.5, 0.1, -1.0)]
    for steps in (confident, certain):
        assert (torch.stack(steps).diff(dim=0) >= 0).all()
        assert (steps[0] == 1).all()
        assert (steps[-1] == len(probs)).all()


def test_the_mean_over_samples_decides(generator: torch.Generator) -> None:
    probs = torch.randn(3, 6, 9, 4, generator=generator, dtype=torch.float64).softmax(-1)
    target = torch.randint(4, (9,), generator=generator)
    assert torch.equal(first_stable_step(probs), first_stable_step(probs.mean(0)))
    for score, threshold in [("confidence", 0.4), ("entropy", 1.2)]:
        both = early_exit(probs, target, threshold, score), early_exit(probs.mean(0), target, threshold, score)
        for one, other in zip(*both, strict=True):
            assert torch.equal(one, other)


def test_threshold_in_half_precision() -> None:
    """0.9 is rounded to the dtype of the probabilities, so the confidence 0.9 reaches the threshold 0.9."""
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        probs = torch.tensor([[[0.9, 0.1]], [[1.0, 0.0]]], dtype=dtype)
        reached = probs[0].max().item() >= 0.9
        assert early_exit(probs, torch.tensor([0]), 0.9).steps.item() == (1 if reached or dtype == torch.float32 else 2)


def test_refuses_what_does_not_fit() -> None:
    probs, target = torch.full((2, 3, 4), 0.25), torch.tensor([0, 1, 3])
    for bad, message in [
        (probs[0], r"probs: expected a tensor of shape \[T, N, C\] or \[S, T, N, C\]"),
        (8 * probs, "apply softmax first"),
        (probs * math.nan, "got values from nan"),
        (probs[:0], "at least one sample and one time step"),
    ]:
        for metric in (first_stable_step, lambda p: early_exit(p, target, 0.5)):
            with pytest.raises(InputError, match=message):
                metric(bad)
    for labels, threshold, score, message in [
        (target[:2], 0.5, "confidence", "target: expected 3 labels"),
        (target + 1, 0.5, "confidence", "target: expected labels from 0 to 3"),
        (target, math.nan, "confidence", "threshold: expected a number"),
        (target, "high", "confidence", "threshold: expected a number"),
        (target, 0.5, "margins", "score: expected one of"),
    ]:
        with pytest.raises(InputError, match=message):
            early_exit(probs, labels, threshold, score)
    with pytest.raises(InputError, match="got none"):
        early_exit(probs[:, :0], target[:0], 0.5)
    assert first_stable_step(probs[:, :0]).shape == (0,)
    with pytest.raises(InputError, match="reduction"):
        FirstStableStep(reduction="all")
    assert EarlyExit(0.5, validate=False)(2 * probs, target).steps.tolist() == [1, 1, 1]
