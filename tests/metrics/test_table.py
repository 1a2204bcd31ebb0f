"""The table in the metrics' README: complete, and no difference to an oracle beyond rounding."""

from __future__ import annotations

import json
import re

import pytest

from tests.metrics.oracles import ORACLES
from tests.metrics.table import DESCRIPTIONS, README, largest_difference
from tsnn_uq.metrics import functional as F


def test_every_metric_has_an_oracle_and_a_row() -> None:
    described = [name for rows in json.loads(DESCRIPTIONS.read_text(encoding="utf-8")).values() for name in rows]
    listed = re.findall(r"^\| `(\w+)` \|", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(ORACLES) == sorted(described) == sorted(listed) == sorted(F.__all__)


@pytest.mark.parametrize("name", F.__all__)
def test_difference_is_rounding(name: str) -> None:
    allowed = {"smooth_calibration_error": 1e-5, "predictive_std": 1e-7, "debiased_calibration_error": 1e-7}
    seeds = range(5, 6) if name == "smooth_calibration_error" else range(6)
    assert largest_difference(name, seeds) <= allowed.get(name, 1e-11)
