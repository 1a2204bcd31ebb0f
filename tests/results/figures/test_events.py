from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import event_picture, event_raster

ON, OFF = to_rgb("#0072B2"), to_rgb("#E69F00")
one_event = st.tuples(st.integers(0, 33), st.integers(0, 33), st.integers(0, 1), st.integers(0, 310_000))


def arrays(rows) -> list[np.ndarray]:
    return [np.array(field) for field in zip(*rows, strict=True)]


def pixels(axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def many(count: int = 4000) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, limit, count) for limit in (34, 34, 2)] + [np.sort(rng.integers(0, 310_000, count))]


@pytest.mark.parametrize("axis", ["pixel", "x", "y"])
def test_the_raster_has_a_point_for_each_event(axis):
    x, y, polarity, time = many(200)
    (axes,) = event_raster((x, y, polarity, time), axis=axis).axes
    height = {"pixel": 34 * y + x, "x": x, "y": y}[axis]
    for points, sign, color in zip(axes.collections, (0, 1), (OFF, ON), strict=True):
        chosen = polarity == sign
        np.testing.assert_allclose(points.get_offsets(), np.stack([time / 1000, height], 1)[chosen])
        assert tuple(points.get_facecolor()[0][:3]) == pytest.approx(color)
        assert points.get_label() == f"{'ON' if sign else 'OFF'} ({chosen.sum()})"
    assert [line.get_xdata()[0] for line in axes.lines] == [90, 225]
    assert axes.yaxis_inverted() == (axis != "x")
    assert axes.get_xlabel() == "Time (ms)"


@settings(max_examples=15)  # a figure each
@given(st.lists(one_event, min_size=1, max_size=12), st.sampled_from([(0.0,), (0.0, 90.0, 225.0), (100.0, 200.0)]))
def test_the_picture_counts_each_event_in_its_panel(rows, begins):
    figure = event_picture(arrays(rows), saccades_ms=begins)
    ends = [*begins[1:], np.inf]
    counts = np.zeros((len(begins), 2, 34, 34))
    for x, y, polarity, time in rows:
        for panel, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            if 1000 * begin <= time < 1000 * end:
                counts[panel, polarity, y, x] += 1
    scale = max(1, np.quantile(counts[counts > 0], 0.995)) if counts.any() else 1
    for axes, (off, on) in zip(figure.axes, counts, strict=True):
        white = np.ones(3)
        drawn = pixels(axes)
        for y, x in [(0, 0), (33, 33), *((y, x) for x, y, _, _ in rows)]:
            shares = min(off[y, x] / scale, 1), min(on[y, x] / scale, 1)
            ink = shares[0] * (white - OFF) + shares[1] * (white - ON)
            assert drawn[y, x] == pytest.approx(np.clip(white - ink, 0, 1))
        assert f"{on.sum():.0f} ON, {off.sum():.0f} OFF" in axes.get_title()


def test_a_hot_pixel_does_not_pale_the_others():
    rows = [(x, y, 1, 0) for x in range(20) for y in range(20)] + [(33, 33, 1, 0)] * 50
    image = pixels(event_picture(arrays(rows), saccades_ms=(0.0,)).axes[0])
    assert image[0, 0] == pytest.approx(ON)
    assert image[33, 33] == pytest.approx(ON)
    assert image[0, 33] == pytest.approx((1, 1, 1))


def test_titles_name_the_times_and_the_legend_its_scale():
    figure = event_picture(arrays([(1, 2, 0, 5)] * 7))
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == ["0 to 90 ms", "90 to 225 ms", "from 225 ms"]
    assert "full colour: 7 or more events of a pixel" in [text.get_text() for text in drawn_texts(figure)]


@pytest.mark.parametrize(
    "draw",
    [
        event_raster,
        lambda events: event_raster(events, axis="y"),
        event_picture,
        lambda events: event_picture(events, saccades_ms=(0.0,)),
        lambda events: event_picture(events, saccades_ms=(0.0, 75.0, 150.0, 225.0)),
    ],
)
def test_no_text_overlaps_or_leaves_the_page(draw):
    figure = draw(many(30_000))
    assert faults(figure) == []
    assert figure.get_figwidth() in (3.5, 7.0)
    assert plt.get_fignums() == []


def test_tensors_and_lists_are_as_good_as_arrays():
    events = many(50)
    expected = pixels(event_picture(events).axes[0])
    for same in (tuple(torch.from_numpy(field) for field in events), [field.astype(np.uint32) for field in events]):
        assert np.array_equal(pixels(event_picture(same).axes[0]), expected)


@pytest.mark.parametrize("draw", [event_raster, event_picture])
@pytest.mark.parametrize(
    ("events", "match"),
    [
        ([np.zeros(3)] * 3, r"^events: expected x, y, .* four arrays \[E\]; got 3 of shapes \[3\]"),
        ([np.zeros(3)] * 3 + [np.zeros(2)], r"got 4 of shapes \[2\], \[3\]"),
        ([np.zeros((2, 2))] * 4, r"got 4 of shapes \[2, 2\]"),
        ([np.zeros(0)] * 4, r"^events: expected at least one event; got none"),
        (arrays([(1, 34, 0, 0)]), r"^events: expected y from 0 to 33; got values from 34 to 34"),
        (arrays([(1, 3, 0, 0), (1, 3, -1, 0)]), r"^events: expected polarity from 0 to 1; got values from -1 to 0"),
    ],
)
def test_what_is_no_recording_is_refused(draw, events, match):
    with pytest.raises(InputError, match=match):
        draw(events)


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match=r"^axis: expected one of pixel, x, y; got 'z'"):
        event_raster(many(5), axis="z")
    for begins in ((), (0.0, 0.0), (90.0, 0.0)):
        with pytest.raises(InputError, match=r"^saccades_ms: expected at least one time, in order; got"):
            event_picture(many(5), saccades_ms=begins)
