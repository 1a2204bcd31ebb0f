from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.checks import InputError
from tsnn_uq.results.bayesian_comparison.measure_scales import scale_measure

positive = st.lists(st.floats(1e-6, 1 - 1e-6), min_size=2, max_size=8, unique=True)


@pytest.mark.parametrize(
    ("name", "factor", "scale"),
    [
        *(("accuracy", 100, "logit"), ("scaled_accuracy", 100, "logit"), ("sparsity", 100, "logit")),
        *(("ece", 100, "log"), ("scaled_ece", 100, "log"), ("aurc", 1000, "log"), ("scaled_aurc", 1000, "log")),
        *(("nll", 1, "log"), ("energy_pj", 1, "log"), ("flops", 1, "log"), ("predictive_entropy", 1, "log")),
    ],
)
@given(values=positive)
def test_there_and_back(name: str, factor: float, scale: str, values: list[float]) -> None:
    measure = scale_measure(name, np.array(values), {})
    assert measure.scale == scale
    forward = measure.forward(np.array(values))
    assert forward.mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(measure.backward(torch.from_numpy(forward)), factor * np.array(values), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "values"), [("accuracy", [0.5, 1.0, 0.9]), ("ece", [0.0, 0.1, 0.3]), ("gain", [-2.0, 5.0, 3.0])]
)
def test_columns_that_reach_zero_or_one_keep_their_scale(name: str, values: list[float]) -> None:
    measure = scale_measure(name, np.array(values), {})
    forward = measure.forward(np.array(values))
    assert measure.scale == "identity"
    assert forward.std() == pytest.approx(1)
    np.testing.assert_allclose(measure.backward(torch.from_numpy(forward)) / measure.factor, values, atol=1e-12)


def test_ropes() -> None:
    values = np.array([0.2, 0.4])
    assert scale_measure("accuracy", values, {}).half_rope(98.0) == 0.1
    assert scale_measure("ece", values, {}).half_rope(2.0) == 0.1
    assert scale_measure("predictive_entropy", values, {}).half_rope(0.4) == pytest.approx(0.02)
    assert scale_measure("gain", values, {}).half_rope(-0.4) == pytest.approx(0.02)
    assert scale_measure("accuracy", values, {"accuracy": 0.5}).half_rope(98.0) == 0.5
    for prefix in ("scaled_", "validation_", "point_"):  # the same measure of other predictions
        found = scale_measure(f"{prefix}ece", values, {}), scale_measure(f"{prefix}nll", values, {})
        assert [(one.unit, one.half_rope(2.0)) for one in found] == [("points", 0.1), ("nats", 0.1)]
    assert scale_measure("aurc", values, {}).unit == "10⁻³"
    with pytest.raises(InputError, match="rope: expected a positive half-width for ece"):
        scale_measure("ece", values, {"ece": -1})
