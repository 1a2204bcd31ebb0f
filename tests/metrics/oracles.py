"""An independent implementation of each metric, and the inputs on which the two are compared for the table.

Loops over inputs in plain Python and numpy, or another library; none imports anything of `tsnn_uq`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations, permutations
from typing import Any

import numpy as np
import scipy.stats
from scipy.special import logsumexp, rel_entr
from sklearn import metrics as sklearn

from tests.metrics.test_selective import expected_risks
from tests.metrics.test_smooth_calibration import by_kernels

Array = np.ndarray
BINS = 10


def entropy_of_mean(probs: Array) -> float:
    return scipy.stats.entropy(probs.mean(0), axis=-1).mean()


def mean_of_entropies(probs: Array) -> float:
    return scipy.stats.entropy(probs, axis=-1).mean()


def divergence_from_mean(probs: Array) -> float:
    return rel_entr(probs, probs.mean(0)).sum(-1).mean()


def divergence_of_pairs(probs: Array) -> float:
    pairs = list(permutations(range(len(probs)), 2))
    return float(np.mean([rel_entr(probs[i], probs[j]).sum(-1).mean() for i, j in pairs])) if pairs else 0.0


def votes(probs: Array) -> Iterator[list[int]]:
    for rows in probs.swapaxes(0, 1).tolist():
        yield [row.index(max(row)) for row in rows]


def minority_share(probs: Array) -> float:
    return float(np.mean([1 - Counter(vote).most_common(1)[0][1] / len(vote) for vote in votes(probs)]))


def share_of_differing_pairs(probs: Array) -> float:
    shares = [[a != b for a, b in combinations(vote, 2)] or [False] for vote in votes(probs)]
    return float(np.mean([np.mean(share) for share in shares]))


def predicted(probs: Array) -> list[int]:
    return [row.index(max(row)) for row in probs.tolist()]


def log_loss(probs: Array, target: Array) -> float:
    return float(np.mean([-math.log(row[y]) if row[y] > 0 else math.inf for row, y in zip(probs, target, strict=True)]))


def loss_of_people(probs: Array, counts: Array) -> float:
    """The mean over inputs of the log-loss of single answers."""
    losses = []
    for row, chosen in zip(probs.tolist(), counts.tolist(), strict=True):
        losses.append(np.mean([-math.log(p) for p, n in zip(row, chosen, strict=True) for _ in range(n)]))
    return float(np.mean(losses))


def rank_correlation(uncertainty: Array, counts: Array) -> float:
    """Sorted, since equal answers to other classes have equal entropies but for rounding."""
    people = scipy.stats.entropy(np.sort(counts, axis=1), axis=1)
    if np.ptp(people) == 0:
        return math.nan
    return scipy.stats.spearmanr(uncertainty, people).statistic


def squared_loss(probs: Array, target: Array) -> float:
    return float(
        np.mean([sum((p - (c == y)) ** 2 for c, p in enumerate(row)) for row, y in zip(probs, target, strict=True)])
    )


def place(confidence: float) -> int:
    return max(b for b in range(BINS) if b / BINS <= confidence)


def groups(confidence: Array, hit: Array) -> list[tuple[int, float, float]]:
    """(count, mean confidence, share of hits) of each bin that is not empty."""
    bins: dict[int, list[int]] = {}
    for i, value in enumerate(confidence.tolist()):
        bins.setdefault(place(value), []).append(i)
    return [(len(rows), confidence[rows].mean(), hit[rows].mean()) for _, rows in sorted(bins.items())]


def top(probs: Array, target: Array) -> tuple[Array, Array]:
    return probs.max(-1), np.array([c == y for c, y in zip(predicted(probs), target, strict=True)], dtype=float)


def of_gaps(combine: Callable[[Array, Array, Array, Array], float]) -> Callable[[Array, Array], float]:
    """A statistic of weights, gaps, counts and accuracies over the bins of the predicted class."""

    def oracle(probs: Array, target: Array) -> float:
        count, confidence, accuracy = np.array(groups(*top(probs, target))).T
        return float(combine(count / count.sum(), confidence - accuracy, count, accuracy))

    return oracle


def debiased(weight: Array, gap: Array, count: Array, accuracy: Array) -> float:
    many = count > 1
    noise = accuracy[many] * (1 - accuracy[many]) / (count[many] - 1)
    return math.sqrt(max((weight[many] * (gap[many] ** 2 - noise)).sum(), 0))


def classwise(probs: Array, target: Array) -> float:
    errors = []
    for c in range(probs.shape[1]):
        parts = groups(probs[:, c], (target == c).astype(float))
        errors.append(sum(count * abs(conf - freq) for count, conf, freq in parts) / len(target))
    return float(np.mean(errors))


def adaptive(probs: Array, target: Array) -> float:
    errors = []
    for c in range(probs.shape[1]):
        p, ranges = probs[:, c], {}
        truth = np.array([(target[p == value] == c).mean() for value in p])
        for rank, row in enumerate(np.argsort(p)):
            ranges.setdefault(rank * BINS // len(p), []).append(row)
        errors.append(np.mean([abs((p[rows] - truth[rows]).mean()) for rows in ranges.values()]))
    return float(np.mean(errors))


def reliability(probs: Array, target: Array) -> list[float]:
    values = []
    for count, confidence, accuracy in groups(*top(probs, target)):
        interval = scipy.stats.binomtest(round(count * accuracy), count).proportion_ci(method="wilson")
        values += [confidence, accuracy, interval.low, interval.high]
    return values


def brier_parts(probs: Array, target: Array) -> list[float]:
    calibration = resolution = uncertainty = 0.0
    for c in range(probs.shape[1]):
        truth = (target == c).astype(float)
        for count, confidence, frequency in groups(probs[:, c], truth):
            calibration += count * (confidence - frequency) ** 2 / len(target)
            resolution += count * (frequency - truth.mean()) ** 2 / len(target)
        uncertainty += truth.var()
    return [calibration, resolution, uncertainty, squared_loss(probs, target) - calibration + resolution - uncertainty]


def risks(uncertainty: Any, correct: Any) -> Array:
    return expected_risks(uncertainty, correct)


def generalized_area(uncertainty: Any, correct: Any) -> float:
    errors = risks(uncertainty, correct) * np.arange(1, len(correct) + 1) / len(correct)
    return float(np.trapezoid(np.concatenate([[0], errors]), dx=1 / len(correct)))


def excess(uncertainty: Any, correct: Any) -> float:
    return risks(uncertainty, correct).mean() - risks(1 - correct.double(), correct).mean()


def coverage_of_risk(uncertainty: Any, correct: Any) -> float:
    allowed = [k for k, risk in enumerate(risks(uncertainty, correct), start=1) if risk <= 0.05 + 1e-12]
    return max(allowed, default=0) / len(correct)


def detection(function: Callable[..., float], sign: int = 1) -> Callable[[Array, Array], float]:
    def oracle(inside: Array, outside: Array) -> float:
        labels = np.repeat([0, 1], [len(inside), len(outside)])
        return function(labels if sign > 0 else 1 - labels, sign * np.concatenate([inside, outside]))

    return oracle


def flagged(inside: Array, outside: Array) -> float:
    return min(np.mean(inside >= t) for t in [*inside, *outside] if np.mean(outside >= t) >= 0.95 - 1e-12)


def stable_steps(probs: Array) -> list[int]:
    decisions = [predicted(step) for step in probs]
    found = []
    for choices in zip(*decisions, strict=True):
        found.append(next(t + 1 for t in range(len(choices)) if len(set(choices[t:])) == 1))
    return found


def exits(probs: Array, target: Array, threshold: float = 0.6) -> list[float]:
    steps = [next((t for t, p in enumerate(run, 1) if max(p) >= threshold), len(run)) for run in probs.swapaxes(0, 1)]
    hits = [predicted(probs[t - 1])[n] == target[n] for n, t in enumerate(steps)]
    reached = [max(probs[:, n].max(-1)) >= threshold for n in range(len(target))]
    return [*steps, np.mean(steps), np.mean(hits), np.mean(reached)]


def smooth(probs: Array, target: Array) -> float:
    return by_kernels(*top(probs, target))


def exact_binomial(first: Array, second: Array) -> list[float]:
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    tail = sum(Fraction(math.comb(b + c, k), 2 ** (b + c)) for k in range(min(b, c) + 1))
    return [float(min(1, 2 * tail)), b, c]


def conformal(probs: Array, held_out: Array, target: Array) -> Array:
    """Least ambiguous sets at alpha = 0.2."""
    scores = sorted(1 - row[y] for row, y in zip(held_out, target, strict=True))
    k = math.ceil((len(scores) + 1) * Fraction(4, 5))
    threshold = scores[k - 1] if k <= len(scores) else math.inf
    return np.array([[1 - p <= threshold for p in row] for row in probs], dtype=float)


def resampled(first: Array, second: Array, rows: Array) -> list[float]:
    """Percentile interval of the difference of mean squares over the given resamples."""
    draws = [np.mean(first[row] ** 2) - np.mean(second[row] ** 2) for row in rows]
    return [np.mean(first**2) - np.mean(second**2), *np.quantile(draws, [0.025, 0.975]), np.std(draws, ddof=1)]


ORACLES: dict[str, Callable[..., Any]] = {
    "accuracy": lambda probs, target: sklearn.accuracy_score(target, predicted(probs)),
    "accuracy_at_coverage": lambda u, correct: 1 - risks(u, correct)[math.ceil(0.9 * len(correct) - 1e-9) - 1],
    "adaptive_calibration_error": adaptive,
    "augrc": generalized_area,
    "aurc": lambda u, correct: risks(u, correct).mean(),
    "average_over_time": lambda probs: probs.reshape(-1, *probs.shape[-2:]).mean(0),
    "brier_decomposition": brier_parts,
    "brier_score": squared_loss,
    "classwise_calibration_error": classwise,
    "conformal_sets": conformal,
    "coverage_at_risk": coverage_of_risk,
    "debiased_calibration_error": of_gaps(debiased),
    "doubt_correlation": rank_correlation,
    "early_exit": exits,
    "energy_score": lambda logits: -logsumexp(logits, axis=-1),
    "excess_aurc": excess,
    "expected_calibration_error": of_gaps(lambda w, gap, n, a: (w * abs(gap)).sum()),
    "expected_entropy": mean_of_entropies,
    "expected_pairwise_kl": divergence_of_pairs,
    "first_stable_step": stable_steps,
    "fpr_at_tpr": flagged,
    "human_cross_entropy": loss_of_people,
    "maximum_calibration_error": of_gaps(lambda w, gap, n, a: abs(gap).max()),
    "maximum_logit_score": lambda logits: [-max(row) for row in logits],
    "maximum_softmax_score": lambda probs: [1 - max(row) for row in probs],
    "mcnemar_test": exact_binomial,
    "mutual_information": divergence_from_mean,
    "negative_log_likelihood": log_loss,
    "ood_aupr_in": detection(sklearn.average_precision_score, -1),
    "ood_aupr_out": detection(sklearn.average_precision_score),
    "ood_auroc": detection(sklearn.roc_auc_score),
    "over_time": lambda probs: [entropy_of_mean(probs[:, t]) for t in range(probs.shape[1])],
    "overconfidence_error": of_gaps(lambda w, gap, n, a: (w * np.maximum(gap, 0)).sum()),
    "paired_bootstrap": resampled,
    "pairwise_disagreement": share_of_differing_pairs,
    "predictive_entropy": entropy_of_mean,
    "predictive_std": lambda probs: np.sqrt(probs.var(0).sum(-1)).mean(),
    "predictive_variance": lambda probs: probs.var(0).sum(-1).mean(),
    "reliability_curve": reliability,
    "risk_coverage_curve": risks,
    "rms_calibration_error": of_gaps(lambda w, gap, n, a: math.sqrt((w * gap**2).sum())),
    "set_coverage": lambda sets, target: np.mean([row[y] for row, y in zip(sets, target, strict=True)]),
    "set_size": lambda sets: np.mean([sum(row) for row in sets.tolist()]),
    "smooth_calibration_error": smooth,
    "time_as_samples": lambda probs: [step for sample in probs for step in sample],
    "underconfidence_error": of_gaps(lambda w, gap, n, a: (w * np.maximum(-gap, 0)).sum()),
    "variation_ratio": minority_share,
}
