"""The note below a figure says which layers are ternary, if not all of each network."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure

from tsnn_uq.results.figures.captions import explain


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (["none", "all"], "Networks: vgg."),
        (["none", "inner"], "Networks: vgg, ternary part inner."),
        (["none", "all", "inner"], "Networks: vgg, ternary parts all, inner."),
        (["none"], "Networks: vgg."),
    ],
)
def test_ternary_parts_are_named_unless_all_layers_are_ternary(parts: list[str], sentence: str) -> None:
    figure = Figure()
    explain(figure, pd.DataFrame({"dataset": "cifar10", "family": "vgg", "quantized_part": parts}))
    assert figure.get_supxlabel() == f"Data: cifar10. {sentence}"


def test_rows_for_means_over_families_name_no_family() -> None:
    figure = Figure()
    explain(figure, pd.DataFrame({"dataset": "mnist", "family": ["dropout", "all"], "seeds": [3, 3]}))
    assert figure.get_supxlabel() == "Data: mnist. Networks: dropout, means over 3 seeds."
