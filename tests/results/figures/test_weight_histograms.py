from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import weight_code_histogram


def made_up(methods: int = 2, layers: int = 3, threshold: float = 0.1) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    edges = np.linspace(-0.3, 0.3, 9)
    rows = []
    for method in ["direct", "indirect", "distill"][:methods]:
        for layer in [f"fc {n}: 784-500" for n in range(1, layers + 1)]:
            counts = rng.integers(0, 40, (3, 8))
            for code, count in zip((-1, 0, 1), counts, strict=True):
                names = {"method": method, "layer": layer, "code": code, "threshold": threshold, "agreement": 0.75}
                numbers = {"count": count, "share": count / counts.sum(), "code_share": count.sum() / counts.sum()}
                bins = {"bin_low": edges[:-1], "bin_high": edges[1:]}
                rows.append(pd.DataFrame(names | bins | numbers))
    return pd.concat(rows, ignore_index=True)


def test_bars_are_those_of_the_table_stacked() -> None:
    table = made_up(1, 1)
    (axes,) = weight_code_histogram(table).axes
    bars = axes.patches[:24]
    np.testing.assert_allclose([bar.get_height() for bar in bars], 100 * table["share"])
    np.testing.assert_allclose([bar.get_x() for bar in bars], table["bin_low"])
    tops = [[bar.get_y() + bar.get_height() for bar in bars[8 * n : 8 * n + 8]] for n in range(3)]
    np.testing.assert_allclose([bar.get_y() for bar in bars[8:16]], tops[0])
    np.testing.assert_allclose(tops[2], 100 * table.groupby("bin_low")["share"].sum())
    assert sorted(line.get_xdata()[0] for line in axes.lines) == [-0.1, 0.1]
    shares = table.groupby("code")["code_share"].first()
    names = {-1: "\N{MINUS SIGN}1", 0: "0", 1: "+1"}
    codes = ", ".join(f"{name}: {100 * shares[code]:.1f}" for code, name in names.items())
    assert axes.get_title() == f"fc 1: 784-500\n{codes} %\nas by threshold: 75.0 %"


def test_a_layer_that_one_method_leaves_float_says_so() -> None:
    table = made_up(2, 2)
    table = table[(table["method"] == "direct") | (table["layer"] == "fc 1: 784-500")]
    texts = [text.get_text() for text in drawn_texts(weight_code_histogram(table))]
    assert texts.count("not quantized") == 1


@pytest.mark.parametrize(("methods", "layers"), [(1, 1), pytest.param(3, 4, marks=pytest.mark.slow)])
def test_no_text_overlaps_or_leaves_the_page(methods: int, layers: int) -> None:
    assert faults(weight_code_histogram(made_up(methods, layers))) == []


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(InputError, match="table: expected at least one layer"):
        weight_code_histogram(made_up().iloc[:0])
