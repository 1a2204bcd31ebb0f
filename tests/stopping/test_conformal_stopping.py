"""Conformal stopping: thresholds against loops, the promise by enumeration and by simulation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.strategies import forecasts, mc_probabilities
from tests.stopping.worlds import draws, population
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import ConformalClassifier
from tsnn_uq.metrics.functional import conformal_sets
from tsnn_uq.stopping import ConformalStopping

CORRECTIONS = st.sampled_from(["max-rank", "bonferroni"])
ALPHAS = st.sampled_from([0.1, 0.25, 0.5, 0.75])


def true_class_leaves(rule: ConformalStopping, probs: Tensor, labels: Tensor) -> Tensor:
    """Whether the true class of each input leaves its set at any checkpoint, if no input stops before."""
    assert rule.thresholds is not None
    scores = torch.stack([rule._classifier.scores(now) for now in probs])
    true = scores.gather(-1, labels.expand(len(probs), -1)[..., None])[..., 0]
    return (true > rule.thresholds[:, None]).any(0)


@given(mc_probabilities(max_samples=4, max_inputs=9), CORRECTIONS, ALPHAS, st.sampled_from(["lac", "aps", "raps"]))
def test_of_exchangeable_inputs_no_more_than_alpha_lose_the_truth(
    probs: Tensor, correction: str, alpha: float, method: str
) -> None:
    """Each of n + 1 inputs in turn is the test input, as exchangeability has it: exactly the promise, ties or not."""
    inputs, classes = probs.shape[1:]
    labels = torch.arange(inputs) % classes
    lost = 0
    for test in range(inputs):
        others = [n for n in range(inputs) if n != test]
        if others:
            rule = ConformalStopping(alpha, correction=correction, method=method).fit(probs[:, others], labels[others])
            lost += true_class_leaves(rule, probs[:, [test]], labels[[test]]).item()
    assert lost <= math.floor(alpha * inputs + 1e-9)


@given(st.integers(2, 30), st.integers(1, 4), ALPHAS, st.integers(0, 10**6))
def test_thresholds_against_loops(inputs: int, steps: int, alpha: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probs = (torch.randint(4, (steps, inputs, 3), generator=generator) / 2.0).double().softmax(-1)
    labels = torch.randint(3, (inputs,), generator=generator)
    scores = [[1 - probs[t, i, y].item() for i, y in enumerate(labels)] for t in range(steps)]
    k = math.floor(alpha * (inputs + 1) + 1e-9)
    best = sorted(min(sum(other >= row[i] for other in row) for row in scores) for i in range(inputs))
    v = {"bonferroni": k // steps, "max-rank": max(k // steps, best[k - 1] - 1 if k else 0)}
    for correction, rank in v.items():
        rule = ConformalStopping(alpha, correction=correction).fit(probs, labels)
        wanted = [sorted(row)[-rank] if rank else math.inf for row in scores]
        assert rule.thresholds.tolist() == pytest.approx(wanted)


@given(forecasts(), forecasts(), ALPHAS, st.sampled_from(["max-rank", "bonferroni", "simes"]))
def test_one_step_is_split_conformal_prediction(
    held_out: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], alpha: float, correction: str
) -> None:
    if held_out[0].shape[1] == test[0].shape[1]:
        rule = ConformalStopping(alpha, correction=correction).fit(held_out[0][None], held_out[1])
        stopped = rule.stop(test[0][None])
        assert torch.equal(stopped.sets, conformal_sets(test[0], ConformalClassifier(alpha).fit(*held_out)))
        assert stopped.steps.tolist() == [1] * len(test[0])


@given(mc_probabilities(max_samples=4), mc_probabilities(max_samples=4), ALPHAS, st.integers(1, 3), st.booleans())
def test_stops_against_loops(held_out: Tensor, probs: Tensor, alpha: float, size: int, simes: bool) -> None:
    steps, classes = min(len(held_out), len(probs)), min(held_out.shape[2], probs.shape[2])
    held_out, probs = (part[:steps, :, :classes] for part in (held_out, probs))
    held_out, probs = (part / part.sum(-1, keepdim=True).clamp_min(1e-300) for part in (held_out, probs))
    held_out, probs = held_out.repeat(1, 6, 1), probs
    labels = torch.arange(held_out.shape[1]) % classes
    correction = "simes" if simes else "max-rank"
    rule = ConformalStopping(alpha, size, correction=correction).fit(held_out, labels, validate=False)
    stopped = rule.stop(probs, validate=False)
    true = [sorted(1 - row[y].item() for row, y in zip(now, labels, strict=True)) for now in held_out]
    k = math.floor(alpha * (len(labels) + 1) + 1e-9)
    for n in range(probs.shape[1]):
        inside, ranks = set(range(classes)), {c: [] for c in range(classes)}
        for t in range(steps):
            for c in range(classes):
                score = 1 - probs[t, n, c].item()
                ranks[c].append(1 + sum(other >= score for other in true[t]))
                if not simes and score > rule.thresholds[t]:
                    inside.discard(c)
                if simes and any(rank * steps <= r * k for r, rank in enumerate(sorted(ranks[c]), start=1)):
                    inside.discard(c)
            if len(inside) <= size or t == steps - 1:
                break
        assert stopped.steps[n] == t + 1
        assert set(stopped.sets[n].nonzero()[:, 0].tolist()) == inside
        best = max(probs[t, n, c].item() for c in inside or range(classes))
        assert probs[t, n, stopped.decisions[n]] == best


@pytest.mark.parametrize("levels", [0, 1])
def test_mean_coverage_over_calibration_sets(levels: int) -> None:
    """The max-rank correction covers just above 1 - alpha, where Bonferroni's wastes more than half of alpha."""
    for correction, (least, most), saved in [("max-rank", (0.9, 0.92), 0.35), ("bonferroni", (0.95, 1), 0.2)]:
        found = simulate(80, correction, levels)
        assert least - 4 * found["standard error"] < found["coverage"] < most
        assert found["saved"] > saved


def simulate(splits: int, correction: str, levels: int = 0, size: int = 500) -> dict[str, float]:
    """Coverage at the stopping times, and steps saved, over calibration sets."""
    probs, labels = population(600, drift=1.8, sharpness=3.0, levels=levels)
    covered, steps = [], []
    for split in draws(len(labels), size, splits):
        rule = ConformalStopping(0.1, correction=correction).fit(probs[:, split], labels[split], validate=False)
        stopped = rule.stop(probs, validate=False)
        covered.append(stopped.sets.gather(1, labels[:, None]).double().mean())
        steps.append(stopped.steps.double().mean())
    coverage = torch.stack(covered)
    return {
        "coverage": coverage.mean().item(),
        "standard error": (coverage.std() / splits**0.5).item(),
        "saved": 1 - torch.stack(steps).mean().item() / len(probs),
    }


def test_simes_is_a_heuristic_that_can_break_the_promise(generator: torch.Generator) -> None:
    """Small p-values of two steps that are rarely small together: up to 1.5 alpha of the sets miss the truth."""
    alpha, size, splits = 0.2, 199, 40

    def inputs(count: int) -> Tensor:
        first = torch.rand(count, generator=generator, dtype=torch.float64)
        swapped = torch.where(first < alpha / 2, first + alpha, first - alpha)
        second = torch.where((first < alpha / 2) | ((first >= alpha) & (first < 1.5 * alpha)), swapped, first)
        truth = torch.stack([first, second])[..., None]  # the p-value is about the probability of the true class
        return torch.cat([truth, (1 - truth).expand(-1, -1, 3) / 3], dim=-1)

    for correction, least, most in [("simes", 0.69, 0.77), ("max-rank", 0.79, 0.83)]:
        covered = []
        for _ in range(splits):
            rule = ConformalStopping(alpha, correction=correction)
            rule.fit(inputs(size), torch.zeros(size, dtype=torch.long))
            covered.append(rule.stop(inputs(500)).sets[:, 0].double().mean())
        assert least < torch.stack(covered).mean().item() < most


def test_max_rank_needs_no_correction_where_steps_repeat(generator: torch.Generator) -> None:
    """Predictions that do not change over time are one look, however many checkpoints there are."""
    probs = torch.randn(1, 99, 4, generator=generator, dtype=torch.float64).softmax(-1)
    labels = torch.randint(4, (99,), generator=generator)
    once = ConformalStopping(0.1).fit(probs, labels).thresholds
    repeated = ConformalStopping(0.1).fit(probs.repeat(20, 1, 1), labels).thresholds
    ordered = (1 - probs[0].gather(1, labels[:, None])[:, 0]).sort(descending=True).values
    assert once.tolist() == [ordered[9].item()]
    assert repeated.tolist() == [ordered[8].item()] * 20  # a rank of ten is lost, and no more
    assert ConformalStopping(0.1, correction="bonferroni").fit(probs.repeat(20, 1, 1), labels).thresholds[0] == math.inf


def test_too_few_inputs_never_stop() -> None:
    probs = torch.tensor([[[0.9, 0.1]], [[0.99, 0.01]]])
    for size in (1, 8):
        for correction in ("max-rank", "bonferroni", "simes"):
            rule = ConformalStopping(0.1, correction=correction)
            stopped = rule.fit(probs.expand(2, size, 2), torch.zeros(size, dtype=torch.long)).stop(probs)
            assert (stopped.steps.item(), stopped.sets.all().item()) == (2, True)


def test_inputs_stop_at_checkpoints_alone() -> None:
    probs, labels = population(800, steps=10)
    rule = ConformalStopping(0.1, checkpoints=[6, 3]).fit(probs[:, :400], labels[:400])
    stopped = rule.stop(probs[:, 400:])
    assert set(stopped.steps.tolist()) == {3, 6, 10}
    only = ConformalStopping(0.1).fit(probs[[2, 5]][:, :400], labels[:400])
    assert rule.thresholds[[2, 5]].tolist() == only.thresholds.tolist()
    assert set(rule.thresholds[[0, 1, 3, 4, 6, 7, 8, 9]].tolist()) == {math.inf}


def test_refuses_what_does_not_fit() -> None:
    for options, message in [
        ({"alpha": 0}, "alpha: expected a positive number"),
        ({"size": 0}, "size: expected a positive whole number"),
        ({"method": "apz"}, "method: expected one of"),
        ({"correction": "holm"}, "correction: expected one of"),
        ({"checkpoints": [0, 2]}, "checkpoints: expected a positive whole number"),
        ({"checkpoints": []}, "checkpoints: expected at least one"),
    ]:
        with pytest.raises(InputError, match=message):
            ConformalStopping(**options)
    with pytest.raises(InputError, match="checkpoints: expected steps from 1 to 2"):
        ConformalStopping(checkpoints=[1, 3]).fit(torch.full((2, 3, 4), 0.25), torch.tensor([0, 1, 3]))


if __name__ == "__main__":
    for name in ("max-rank", "bonferroni", "simes"):
        print(name, {key: round(value, 4) for key, value in simulate(1000, name).items()})
