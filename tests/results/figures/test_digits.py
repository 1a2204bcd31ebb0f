from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import METHOD_COLORS, digit_gallery

METHODS = ["float", "direct", "indirect", "distill"]


def made_up(methods=2, uncertain=8, wrong=3, classes=10):
    rng = np.random.default_rng(0)
    rows, pictures = [], {}
    for group, count in (("uncertain", uncertain), ("wrong", wrong)):
        for rank in range(1, count + 1):
            place = len(pictures)
            pictures[place] = rng.random((28, 28))
            for method in METHODS[:methods]:
                probs = rng.dirichlet(np.ones(classes))
                row = {"group": group, "rank": rank, "input": place, "label": place % classes, "method": method}
                row |= {"predicted": int(probs.argmax()), "predictive_entropy_nats": 1.5 + rank / 10}
                rows += [{**row, "class": c, "probability": p} for c, p in enumerate(probs)]
    return pd.DataFrame(rows).assign(by=METHODS[methods - 1]), pictures


def test_each_input_has_its_picture_and_everyones_bars():
    table, pictures = made_up()
    figure = digit_gallery(table, pictures)
    drawn = [axes for axes in figure.axes if axes.images]
    bars = [axes for axes in figure.axes if axes.patches]
    assert len(drawn) == len(pictures) == 11
    assert len(bars) == 2 * 11
    for axes, (place, picture) in zip(drawn, pictures.items(), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), picture)
        rows = table[(table["input"] == place) & (table["method"] == "direct")].iloc[0]
        said = (
            f"said {rows['predicted']}" if rows["group"] == "wrong" else f"{rows['predictive_entropy_nats']:.2f} nats"
        )
        assert axes.get_title() == f"is {rows['label']}, {said}"
    lines = [table[table["group"] == group] for group in ("uncertain", "wrong")]
    expected = [
        rows for line in lines for method in METHODS[:2] for _, rows in line[line["method"] == method].groupby("rank")
    ]
    for axes, rows in zip(bars, expected, strict=True):
        shade, *columns = axes.patches
        assert [bar.get_height() for bar in columns] == rows["probability"].tolist()
        assert {to_hex(bar.get_facecolor()).upper() for bar in columns} == {METHOD_COLORS[rows["method"].iloc[0]]}
        assert shade.get_x() + shade.get_width() / 2 == rows["label"].iloc[0]


@pytest.mark.parametrize(("methods", "uncertain", "wrong"), [(1, 8, 0), (4, 8, 0), (2, 9, 1)])
def test_no_text_overlaps_or_leaves_the_page(methods, uncertain, wrong):
    figure = digit_gallery(*made_up(methods, uncertain, wrong))
    assert faults(figure) == []
    titles = [text.get_text() for text in drawn_texts(figure) if "bars:" in text.get_text()]
    bars = "(bars: mean probability of each class; grey: the true one)"
    names = ["Most uncertain", "Most confidently wrong"][: 1 + (wrong > 0)]
    assert titles == [f"{name}, by {METHODS[methods - 1]} {bars}" for name in names]
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == uncertain + wrong
    assert plt.get_fignums() == []


def test_missing_pictures_and_methods_are_refused():
    table, pictures = made_up()
    with pytest.raises(InputError, match="pictures: expected one of each input of the table; got none of 4"):
        digit_gallery(table, {place: picture for place, picture in pictures.items() if place != 4})
    with pytest.raises(InputError, match="predictions: expected at least one method; got none"):
        digit_gallery(table.iloc[:0], pictures)
