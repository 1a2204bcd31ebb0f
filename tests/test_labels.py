"""Labels of any integer dtype, wherever labels are taken: the same numbers as with int64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import tsnn_uq.recalibration as R
from tests.helpers.training import TINY, images, mlp
from tsnn_uq import training
from tsnn_uq.checks import InputError
from tsnn_uq.data import Dataset
from tsnn_uq.experiments import evaluate
from tsnn_uq.metrics import ConformalClassifier
from tsnn_uq.metrics import functional as F
from tsnn_uq.results.figures import entropy_table, reliability_table, selective_table
from tsnn_uq.training.losses import spike_count

DTYPES = [torch.int32, torch.uint8, torch.uint16, torch.uint64]  # tests/test_checks.py has them all
IMAGES, LABELS = images(12)
PROBS = torch.randn(4, 12, 3, generator=torch.Generator().manual_seed(0)).softmax(-1)
MEAN = PROBS.mean(0)


def recalibrated(name: str, labels: Tensor) -> Tensor:
    return getattr(R, name)().fit(MEAN, labels).transform(MEAN)


def trained(labels: Tensor) -> Any:
    history = training.fit(mlp(), (IMAGES, labels), seed=0, settings=TINY, validation=(IMAGES, labels))
    return history.loss, history.validation_accuracy


def of_own_loop(labels: Tensor) -> Tensor:
    term = training.SoftBinnedRegularizer()
    forward = training.forward_batch(mlp(), IMAGES, labels, term, seed=0, step=0)
    return cross_entropy(forward.all_logits, forward.of_all(forward.target)) + term.term(forward)


TAKERS: dict[str, Callable[[Tensor], Any]] = {
    **{
        name: partial(getattr(F, name), MEAN)
        for name in F.__all__
        if "target" in getattr(F, name).__code__.co_varnames[:2] and name not in ("early_exit", "set_coverage")
    },
    "early_exit": lambda labels: F.early_exit(PROBS, labels, 0.5),
    "set_coverage": lambda labels: F.set_coverage(MEAN > 0.3, labels),
    "unchecked": lambda labels: F.set_coverage(MEAN > 0.3, labels, validate=False) + F.accuracy(MEAN, labels),
    "over_time": lambda labels: F.over_time(F.accuracy, PROBS, labels),
    "paired_bootstrap": lambda labels: F.paired_bootstrap(
        F.brier_score, MEAN, PROBS[0], labels, generator=torch.Generator().manual_seed(0), resamples=9
    ),
    "conformal": lambda labels: ConformalClassifier().fit(MEAN, labels).threshold,
    **{name: partial(recalibrated, name) for name in R.__all__ if name != "Recalibrator"},
    "fit": trained,
    "accuracy": lambda labels: training.accuracy(mlp(), IMAGES, labels),
    "forward_batch": of_own_loop,
    "regularizers": lambda labels: [
        training.make_regularizer(name)(PROBS.log(), labels)
        for name in ("accuracy-uncertainty", "kernel-calibration", "variance-right")
    ],
    "spike_count": lambda labels: spike_count(10 * MEAN, labels, (10, 2)),
    "Dataset": lambda labels: Dataset(IMAGES, labels, "some", 3).subset(5).labels,
    "evaluate": lambda labels: list(evaluate(PROBS, labels).values()),
    "tables": lambda labels: [
        table.select_dtypes("number").to_numpy().tolist()
        for table in (
            entropy_table({"float": (PROBS.numpy(), labels.numpy())}, bins=3),
            reliability_table({"float": (MEAN.numpy(), labels.numpy())}, bins=3),
            selective_table({"float": (PROBS.numpy(), labels.numpy())}),
        )
    ],
}


@pytest.mark.parametrize("name", TAKERS)
def test_every_integer_dtype_gives_the_numbers_of_int64(name):
    expected = TAKERS[name](LABELS)
    for dtype in DTYPES:
        torch.testing.assert_close(TAKERS[name](LABELS.to(dtype)), expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", sorted(set(TAKERS) - {"unchecked"}))
def test_floats_are_refused_with_the_remedy(name):
    with pytest.raises(InputError, match=r"expected whole class numbers.*\.long\(\)"):
        TAKERS[name](LABELS.double())


def test_labels_beyond_those_of_uint8_and_int8():
    """200 classes: as int8, 130 would be -126; as uint8, nothing wraps."""
    labels = torch.arange(200)
    probs = torch.eye(200)
    assert F.accuracy(probs, labels.to(torch.uint8)) == 1
    assert F.accuracy(probs, labels.to(torch.uint16)) == 1
    with pytest.raises(InputError, match="expected labels from 0 to 199"):
        F.accuracy(probs, labels.to(torch.int8))
    assert R.TemperatureScaling().fit(0.9 * probs + 0.1 / 200, labels.to(torch.uint8)).classes == 200
