"""The default term of the loss is the one that our own measured rows choose."""

from pathlib import Path

import pytest

pytest.importorskip("paper.report_sources", reason="needs a checkout: paper/ is not beside tests/")

from paper.report_sources import Sources
from tsnn_uq.experiments.ablation import chosen_weights
from tsnn_uq.training import DEFAULT_REGULARIZER

SOURCES = Sources(Path(__file__).parents[2])


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_the_default_won_the_finals(family):
    chosen = chosen_weights(SOURCES.table("finals"))
    ternary = chosen[(chosen["family"] == family) & (chosen["method"] == "direct") & chosen["acceptable"]]
    assert len(ternary) > 1
    assert ternary.sort_values("gain")["regularizer"].iloc[-1] == DEFAULT_REGULARIZER
