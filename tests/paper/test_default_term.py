"""The default term of the loss is the one that our own measured rows choose."""

from pathlib import Path

import pytest

from tsnn_uq.studies.ablation import chosen_weights, read_stage
from tsnn_uq.training import DEFAULT_REGULARIZER

RESULTS = Path(__file__).parents[2] / "paper" / "results"


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_the_default_won_the_finals(family):
    chosen = chosen_weights(read_stage(RESULTS / "regularizer-finals.csv"))
    ternary = chosen[(chosen["family"] == family) & (chosen["method"] == "direct") & chosen["acceptable"]]
    assert len(ternary) > 1
    assert ternary.sort_values("gain")["regularizer"].iloc[-1] == DEFAULT_REGULARIZER
