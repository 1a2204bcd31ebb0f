"""Conformal sets against loops over inputs and classes, and their coverage against simulations."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom
from torch import Tensor

from tests.helpers.strategies import forecasts
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import ConformalClassifier, ConformalSets, SetCoverage, SetSize
from tsnn_uq.metrics.functional import conformal_sets, set_coverage, set_size

METHODS = st.sampled_from(["lac", "aps", "raps"])


def score_by_loop(row: list[float], c: int, method: str, penalty: float, rank: int) -> float:
    if method == "lac":
        return 1 - row[c]
    better = [other for other in range(len(row)) if (-row[other], other) < (-row[c], c)]
    penalized = penalty * max(0, len(better) + 1 - rank) if method == "raps" else 0.0
    return sum(row[other] for other in better) + row[c] + penalized


@given(forecasts(), forecasts(), METHODS, st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9]), st.booleans())
def test_against_loops(
    held_out: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], method: str, alpha: float, allow_empty: bool
) -> None:
    classifier = ConformalClassifier(alpha, method, penalty=0.25, rank=1, allow_empty=allow_empty).fit(*held_out)
    rows, labels = held_out[0].tolist(), held_out[1].tolist()
    scores = sorted(score_by_loop(row, y, method, 0.25, 1) for row, y in zip(rows, labels, strict=True))
    place = math.ceil((len(scores) + 1) * (1 - Fraction(alpha).limit_denominator(100)))
    threshold = scores[place - 1] if place <= len(scores) else math.inf
    assert classifier.threshold == pytest.approx(threshold, abs=1e-12)
    sets = conformal_sets(test[0], classifier)
    for row, found in zip(test[0].tolist(), sets.tolist(), strict=True):
        for c, inside in enumerate(found):
            score = score_by_loop(row, c, method, 0.25, 1)
            predicted = not allow_empty and c == row.index(max(row))
            if predicted or abs(score - threshold) > 1e-12:
                assert inside == (score <= threshold or predicted)


@given(forecasts(), METHODS)
def test_calibration_inputs_are_covered_as_promised(held_out: tuple[Tensor, Tensor], method: str) -> None:
    for alpha in (0.1, 0.3, 0.5):
        sets = conformal_sets(held_out[0], ConformalClassifier(alpha, method).fit(*held_out))
        assert set_coverage(sets, held_out[1]).item() >= 1 - alpha - 1e-12


@given(forecasts(), METHODS)
def test_sets_shrink_as_more_may_be_missed(held_out: tuple[Tensor, Tensor], method: str) -> None:
    sets = [conformal_sets(held_out[0], ConformalClassifier(a, method).fit(*held_out)) for a in (0.01, 0.2, 0.6, 0.95)]
    for larger, smaller in itertools.pairwise(sets):
        assert (larger | ~smaller).all()


def simulated(inputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Labels from one distribution, predictions from another: overconfident and biased towards class 0."""
    logits = torch.randn(inputs, 6, generator=generator, dtype=torch.float64)
    target = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    return (3 * logits + torch.tensor([1.0, 0, 0, 0, 0, 0])).softmax(-1), target


@pytest.mark.parametrize(
    ("method", "options"),
    [("lac", {}), ("aps", {}), ("raps", {"penalty": 0.1, "rank": 2}), ("aps", {"randomized": True})],
)
def test_coverage_over_repeated_draws(method: str, options: dict[str, object], generator: torch.Generator) -> None:
    """Of n distinct scores, the covered among m test inputs are beta-binomial with parameters k and n + 1 - k."""
    n, m, alpha, repeats = 99, 200, 0.1, 400
    covered = []
    for _ in range(repeats):
        classifier = ConformalClassifier(alpha, method, **options).fit(*simulated(n, generator), generator=generator)
        probs, target = simulated(m, generator)
        covered.append(set_coverage(conformal_sets(probs, classifier, generator=generator), target).item())
    law = betabinom(m, 90, 10)
    assert np.mean(covered) == pytest.approx(0.9, abs=4 * law.std() / m / math.sqrt(repeats))
    assert np.std(covered) == pytest.approx(law.std() / m, rel=0.15)


def test_randomized_sets_are_smaller(generator: torch.Generator) -> None:
    held_out, (probs, _) = simulated(2000, generator), simulated(2000, generator)
    plain = ConformalClassifier(method="aps").fit(*held_out)
    drawn = ConformalClassifier(method="aps", randomized=True).fit(*held_out, generator=generator)
    smallest = ConformalClassifier().fit(*held_out)
    sizes = [set_size(conformal_sets(probs, c, generator=generator)).item() for c in (smallest, drawn, plain)]
    assert sizes == sorted(sizes)


def test_too_few_inputs_give_full_sets() -> None:
    probs, target = torch.tensor([[0.9, 0.1]] * 8), torch.zeros(8, dtype=torch.long)
    assert ConformalClassifier(0.1).fit(probs, target).threshold == math.inf  # ceil(9 * 0.9) = 9 > 8
    assert conformal_sets(probs, ConformalClassifier(0.1).fit(probs, target)).all()
    nine = ConformalClassifier(0.1).fit(torch.cat([probs, probs[:1]]), torch.zeros(9, dtype=torch.long))
    assert nine.threshold == pytest.approx(0.1)
    assert conformal_sets(probs, nine).sum(-1).tolist() == [1] * 8


def test_half_precision_and_layouts(generator: torch.Generator) -> None:
    probs, target = simulated(100, generator)
    for narrow in (probs.half(), probs.bfloat16(), probs.float(), probs.T.contiguous().T):
        classifier = ConformalClassifier(method="aps").fit(narrow, target.int())
        assert set_coverage(conformal_sets(narrow, classifier), target) >= 0.9


def test_running_sets(generator: torch.Generator) -> None:
    classifier = ConformalClassifier().fit(*simulated(200, generator))
    probs, target = simulated(50, generator)
    sets = conformal_sets(probs, classifier)
    both, coverage, size = ConformalSets(classifier), SetCoverage(), SetSize()
    for rows in (slice(0, 30), slice(30, 31), slice(31, 31), slice(31, 50)):
        both.update(probs[rows], target[rows])
        coverage.update(sets[rows], target[rows])
        size.update(sets[rows])
    wanted = [set_coverage(sets, target), set_size(sets), (sets.sum(-1) == 0).double().mean()]
    assert [part.item() for part in both.compute()] == pytest.approx([part.item() for part in wanted])
    assert [coverage.compute(), size.compute()] == wanted[:2]


def test_refuses_what_does_not_fit() -> None:
    probs, target = torch.full((3, 4), 0.25), torch.tensor([0, 1, 3])
    for options, message in [
        ({"alpha": 0}, "alpha: expected a positive number"),
        ({"alpha": 1.0}, "alpha: expected 0 <= value < 1"),
        ({"method": "apz"}, "method: expected one of"),
        ({"rank": 1.5}, "rank: expected a positive whole number"),
        ({"penalty": -1}, "penalty: expected a positive number"),
        ({"randomized": True}, "randomized: expected False with method 'lac'"),
    ]:
        with pytest.raises(InputError, match=message):
            ConformalClassifier(**options)
    classifier = ConformalClassifier()
    for use in (lambda: conformal_sets(probs, classifier), lambda: ConformalSets(classifier)):
        with pytest.raises(InputError, match="classifier: expected a fitted classifier"):
            use()
    with pytest.raises(InputError, match="target: expected labels from 0 to 3"):
        classifier.fit(probs, target + 1)
    with pytest.raises(InputError, match="calibrate on"):
        classifier.fit(probs[:0], target[:0])
    classifier.fit(probs, target)
    with pytest.raises(InputError, match="apply softmax first"):
        conformal_sets(8 * probs, classifier)
    assert conformal_sets(probs[:0], classifier).shape == (0, 4)
    with pytest.raises(InputError, match=r"generator: expected a torch.Generator for randomized sets"):
        ConformalClassifier(method="aps", randomized=True).fit(probs, target)
    with pytest.raises(InputError, match="sets: expected True or False"):
        set_size(probs)
    with pytest.raises(InputError, match="target: expected 3 labels"):
        set_coverage(probs > 0, target[:2])
