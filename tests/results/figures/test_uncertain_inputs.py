from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import METHOD_COLORS, digit_gallery, with_pictures

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
    table = pd.DataFrame(rows).assign(by=METHODS[methods - 1], inputs=1000, samples=8)
    return with_pictures(table, "input", pictures), pictures


def test_each_input_has_its_picture_and_everyones_bars():
    table, pictures = made_up()
    figure = digit_gallery(table)
    drawn = [axes for axes in figure.axes if axes.images]
    bars = iter([axes for axes in figure.axes if axes.patches])
    texts = {text.get_text() for text in figure.texts}
    assert len(drawn) == len(pictures) == 11
    for axes, (place, picture) in zip(drawn, pictures.items(), strict=True):
        np.testing.assert_allclose(axes.images[0].get_array() / 255, picture, atol=0.51 / 255)
        for method in METHODS[:2]:
            rows = table[(table["input"] == place) & (table["method"] == method)]
            shade, *columns = next(bars).patches
            assert [bar.get_height() for bar in columns] == rows["probability"].tolist()
            assert {to_hex(bar.get_facecolor()).upper() for bar in columns} == {METHOD_COLORS[method]}
            assert shade.get_x() + shade.get_width() / 2 == rows["label"].iloc[0]
        first = rows.iloc[0]
        wrong = first["group"] == "wrong"
        said = f"said {first['predicted']}" if wrong else f"{first['predictive_entropy_nats']:.2f} nats"
        assert f"is {first['label']}, {said}" in texts


def test_columns_are_aligned_however_few_inputs_a_line_has():
    figure = digit_gallery(made_up(2, 8, 1)[0])
    figure.draw_without_rendering()
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert len({round(box.x0) for box in boxes}) == len({round(box.x1) for box in boxes}) == 8


@pytest.mark.parametrize(("methods", "uncertain", "wrong"), [pytest.param(4, 8, 0, marks=pytest.mark.slow), (2, 9, 1)])
def test_no_text_overlaps_or_leaves_the_page(methods, uncertain, wrong):
    figure = digit_gallery(made_up(methods, uncertain, wrong)[0])
    assert faults(figure) == []
    texts = {text.get_text() for text in drawn_texts(figure)}
    names = ["Most uncertain", "Most confidently wrong"][: 1 + (wrong > 0)]
    assert {f"{name}, by {METHODS[methods - 1]}" for name in names} <= texts
    assert sum(bool(axes.images) for axes in figure.axes) == uncertain + wrong
    assert plt.get_fignums() == []


def test_missing_pictures_and_methods_are_refused():
    table, pictures = made_up()
    with pytest.raises(InputError, match="pictures: expected one for each input"):
        with_pictures(table, "input", {place: picture for place, picture in pictures.items() if place != 4})
    assert not any(axes.images for axes in digit_gallery(table.drop(columns="picture")).axes)
    with pytest.raises(InputError, match="at least one method"):
        digit_gallery(table.iloc[:0])
