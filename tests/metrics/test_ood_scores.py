"""Scores of single predictions against loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from tsnn_uq.checks import InputError
from tsnn_uq.metrics.functional import energy_score, maximum_logit_score, maximum_softmax_score, ood_auroc

LOGITS = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5)


@given(LOGITS, st.sampled_from([0.01, 1.0, 1000.0]))
def test_against_scipy(row: list[float], temperature: float) -> None:
    logits = torch.tensor([row], dtype=torch.float64)
    wanted = -temperature * logsumexp([z / temperature for z in row])
    assert energy_score(logits, temperature).item() == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    assert maximum_logit_score(logits).item() == -max(row)
    probs = logits.softmax(-1)
    assert maximum_softmax_score(probs).item() == 1 - max(probs[0].tolist())
    low = -max(row) - temperature * math.log(len(row))
    assert low - 1e-9 * abs(low) <= energy_score(logits, temperature).item() <= -max(row) + 1e-9 * abs(low)


def test_scores_feed_the_detection_metrics(generator: torch.Generator) -> None:
    inside, outside = (scale * torch.randn(200, 5, generator=generator) for scale in (4.0, 0.5))
    for score in (energy_score, maximum_logit_score):
        assert ood_auroc(score(inside), score(outside)) > 0.9
    assert ood_auroc(*(maximum_softmax_score(x.softmax(-1)) for x in (inside, outside))) > 0.8


def test_half_precision_is_computed_in_float32() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        logits = torch.tensor([[1.0, 2.0, -3.0]], dtype=dtype)
        assert energy_score(logits).dtype == torch.float32
        assert energy_score(logits) == energy_score(logits.float())


def test_refuses_what_does_not_fit() -> None:
    good = torch.tensor([[1.0, 2.0]])
    for score in (energy_score, maximum_logit_score):
        for bad, message in [
            (good[0], r"logits: expected a tensor of shape \[N, C\]"),
            (good.long(), "logits: expected floating-point numbers"),
            (good[:, :0], "logits: expected floating-point numbers, at least one"),
            (good * math.nan, "logits: expected numbers"),
        ]:
            with pytest.raises(InputError, match=message):
                score(bad)
        assert score(good[:0]).shape == (0,)
        with pytest.raises(InputError, match="at least one input"):
            score(good[:0], reduction="mean")
    with pytest.raises(InputError, match="apply softmax first"):
        maximum_softmax_score(good)
    with pytest.raises(InputError, match="temperature: expected a positive number"):
        energy_score(good, 0)
