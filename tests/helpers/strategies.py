"""Hypothesis strategies for the inputs of metrics; each emits the awkward values, and not only now and then.

Probabilities are 0, 1, bin edges (multiples of 1/16 and 1/10), ties, and numbers near the ends of float64; sizes are
one class, one sample and one input among others.
"""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

__all__ = ["forecasts", "mc_probabilities", "ood_scores", "probability_rows", "selective_inputs"]


@st.composite
def probability_rows(draw: st.DrawFn, classes: int) -> list[float]:
    """One distribution over `classes`: one-hot, uniform, on bin edges, nearly one-hot, or whatever comes."""
    kind = draw(st.sampled_from(["one-hot", "uniform", "edge", "extreme", "weights"]))
    first = draw(st.integers(0, classes - 1))
    row = [0.0] * classes
    if classes == 1 or kind == "one-hot":
        row[first] = 1.0
    elif kind == "uniform":
        row = [1 / classes] * classes
    elif kind in ("edge", "extreme"):
        bins = draw(st.sampled_from([10, 16]))
        share = (
            draw(st.integers(0, bins)) / bins if kind == "edge" else draw(st.sampled_from([1e-300, 1e-12, 1 - 1e-12]))
        )
        row[first], row[first - 1] = share, 1 - share
    else:
        weights = draw(st.lists(st.floats(1e-3, 1.0), min_size=classes, max_size=classes))
        row = [weight / sum(weights) for weight in weights]
    return row


@st.composite
def mc_probabilities(draw: st.DrawFn, max_samples: int = 5, max_inputs: int = 4, max_classes: int = 4) -> Tensor:
    """Float64 [S, N, C]; the samples of an input are often equal, and so are inputs."""
    samples, inputs = draw(st.integers(1, max_samples)), draw(st.integers(1, max_inputs))
    classes = draw(st.integers(1, max_classes))
    pool = draw(st.lists(probability_rows(classes), min_size=1, max_size=4))
    pick = st.lists(st.sampled_from(pool), min_size=inputs, max_size=inputs)
    return torch.tensor(draw(st.lists(pick, min_size=samples, max_size=samples)), dtype=torch.float64)


@st.composite
def forecasts(draw: st.DrawFn, max_inputs: int = 8, max_classes: int = 4) -> tuple[Tensor, Tensor]:
    """Float64 probabilities [N, C] and labels [N]; rows repeat, so bins and ties fill up."""
    inputs, classes = draw(st.integers(1, max_inputs)), draw(st.integers(1, max_classes))
    pool = draw(st.lists(probability_rows(classes), min_size=1, max_size=5))
    rows = draw(st.lists(st.sampled_from(pool), min_size=inputs, max_size=inputs))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=inputs, max_size=inputs))
    return torch.tensor(rows, dtype=torch.float64), torch.tensor(labels)


# Few distinct numbers, so that ties are the rule.
_SCORES = st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, 1e-300, float("inf"), -1.0])


@st.composite
def selective_inputs(draw: st.DrawFn, max_inputs: int = 7) -> tuple[Tensor, Tensor]:
    """Float64 uncertainties [N], mostly tied, and booleans [N]; often all right or all wrong."""
    pairs = draw(st.lists(st.tuples(_SCORES, st.booleans()), min_size=1, max_size=max_inputs))
    correct = draw(st.sampled_from([[right for _, right in pairs], [True] * len(pairs), [False] * len(pairs)]))
    return torch.tensor([score for score, _ in pairs], dtype=torch.float64), torch.tensor(correct)


@st.composite
def ood_scores(draw: st.DrawFn, max_inputs: int = 7) -> tuple[Tensor, Tensor]:
    """Float64 uncertainties in distribution [N] and out of it [M], tied within and between the two."""
    score = st.one_of(_SCORES, st.floats(0, 1))
    both = [draw(st.lists(score, min_size=1, max_size=max_inputs)) for _ in range(2)]
    return torch.tensor(both[0], dtype=torch.float64), torch.tensor(both[1], dtype=torch.float64)
