from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from tsnn_uq.checks import InputError
from tsnn_uq.data import SOURCES, locate
from tsnn_uq.data.event_camera import (
    CAPACITY,
    MARGIN,
    PATH,
    Camera,
    Sensor,
    _course,
    _log_intensities,
    _pixel_events,
    record,
)
from tsnn_uq.data.events import Events
from tsnn_uq.data.images import read_part
from tsnn_uq.data.nmnist import find_recordings

SILENT = Camera(mismatch=0, jitter=0, refractory_us=0, start_us=0, noise_off=0, noise_on=0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def bar() -> np.ndarray:
    """An upright bar in the middle of one image."""
    images = np.zeros((1, 28, 28), np.uint8)
    images[0, 5:23, 12:16] = 255
    return images


def watch(images: np.ndarray, camera: Camera, seed: int = 0) -> list[Events]:
    recordings = record(images, camera, Sensor(camera, rng(7)), rng(seed))
    assert all(words.dtype == np.int32 for words in recordings)
    return [
        Events(place % 34, place // 34 % 34, place // 34**2, words >> 12)
        for words in recordings
        for place in [words & 4095]
    ]


levels_ = st.lists(st.floats(-1.5, 0), min_size=2, max_size=12).map(np.array)


@given(levels_, st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.integers(0, 9))
def test_a_pixel_tells_of_every_change_by_its_threshold_and_of_nothing_else(levels, off, on, seed):
    times, words = 1000.0 * np.arange(len(levels)), np.empty(1000, np.int64)
    count = _pixel_events(levels, times, (off, on, 77), 0.0, 0.0, 1e9, rng(seed), words, 0)
    sent = words[:count] >> 12
    rises = (words[:count] & 4095) == 77 + 34 * 34
    assert set((words[:count] & 4095).tolist()) <= {77, 77 + 34 * 34}
    assert (np.diff(sent) >= 0).all()
    # The light at each event differs from that at the one before by the threshold; times are whole microseconds.
    slack = np.abs(np.diff(levels)).max() / 1000 + 1e-9
    seen = np.interp(sent, times, levels)
    steps = np.where(rises, on, -off)
    assert np.diff(seen) == pytest.approx(steps[1:], abs=2 * slack)
    start = levels[0] + off - (off + on) * rng(seed).random()
    assert levels[0] - on - 1e-9 <= start <= levels[0] + off + 1e-9
    if count:
        assert seen[0] - start == pytest.approx(steps[0], abs=slack)
    # In between it stays within the thresholds: nothing was missed.
    fine = np.linspace(0, times[-1], 2000)
    reference = np.concatenate([[start], start + np.cumsum(steps)])[np.searchsorted(sent, fine, side="right")]
    away = np.interp(fine, times, levels) - reference
    assert away.max() <= on + slack
    assert away.min() >= -off - slack


def test_two_events_of_a_pixel_wait_for_each_other():
    words = np.empty(100, np.int64)
    count = _pixel_events(
        np.array([0.0, -1.5]), np.array([0.0, 1000.0]), (0.2, 0.2, 0), 0.0, 900.0, 1e9, rng(), words, 0
    )
    assert count in (7, 8)
    assert (np.diff(words[:count] >> 12) >= 899).all()
    early = _pixel_events(
        np.array([0.0, -1.5]), np.array([0.0, 1000.0]), (0.2, 0.2, 0), 0.0, 900.0, 2000.0, rng(), words, 0
    )
    assert 0 < early < count  # what would come after the end is not sent


def test_what_a_pixel_sees_is_the_picture_shifted_bilinearly():
    picture = gaussian_filter(np.pad(rng().random((28, 28)), MARGIN + 3), 0.6)
    times, corners, parts = _course()
    levels = np.empty(len(times))
    for y, x in ((0, 0), (33, 33), (17, 16), (9, 25)):
        _log_intensities(picture, y, x, corners, parts, 0.75, levels)
        course = [np.interp(times, 5000 * np.arange(len(PATH)), np.array(PATH)[:, axis]) - 16.5 for axis in (1, 0)]
        expected = map_coordinates(picture, [MARGIN + y - course[0], MARGIN + x - course[1]], order=1)
        np.testing.assert_allclose(levels, np.log(1 - 0.75 * expected), rtol=1e-3, atol=2e-3)


def test_the_path_is_a_triangle_that_closes():
    path = np.array(PATH)
    down, right, back = path[20] - path[0], path[45] - path[20], path[-1] - path[45]
    assert down[1] > 4 > abs(down[0])
    assert right[0] > 3
    assert right[1] < -4
    assert back[0] < -4 < -1 < back[1] < 1
    assert np.hypot(*(path[-1] - path[0])) < 0.3


@pytest.mark.slow
def test_off_events_lead_and_on_events_follow_the_digit():
    (events,) = watch(bar(), SILENT)
    back = events.time_us > 235_000  # to the left, across the bar
    on, off = (events.x[back & (events.polarity == sign)].mean() for sign in (1, 0))
    assert on - off > 3
    down = events.time_us < 70_000
    on, off = (events.y[down & (events.polarity == sign)].mean() for sign in (1, 0))
    assert off - on > 3


def test_without_noise_nothing_moves_where_no_digit_is():
    (events,) = watch(bar(), SILENT)
    assert events.x.min() >= 12 - 3
    assert events.x.max() <= 15 + 7 + 3
    assert watch(np.zeros((1, 28, 28), np.uint8), SILENT)[0].x.size == 0


def test_noise_alone_has_its_rates():
    camera = replace(SILENT, noise_off=0.02, noise_on=0.1, noise_spread=0.3)
    recordings = watch(np.zeros((300, 28, 28), np.uint8), camera)
    hot = np.array([(34 * y + x) + sign * 34 * 34 for y, x in ((15, 7), (30, 18), (13, 1)) for sign in (0, 1)])
    places = np.concatenate([events.place for events in recordings])
    counts = np.bincount(places, minlength=2312) / 300
    assert counts[hot] == pytest.approx([3.0, 2.6, 6.0, 7.5, 0.65, 0.89], rel=0.2)
    counts[hot] = np.nan
    assert np.nanmean(counts[:1156]) == pytest.approx(0.02, rel=0.1)
    assert np.nanmean(counts[1156:]) == pytest.approx(0.1, rel=0.1)
    times = np.concatenate([events.time_us for events in recordings])
    assert times.mean() == pytest.approx(307_800 / 2, rel=0.02)
    assert times.max() < 307_800


def test_the_seed_decides_and_the_first_of_many_are_as_they_are_alone():
    images = rng(1).integers(0, 256, (3, 28, 28), dtype=np.uint8) * (rng(2).random((3, 28, 28)) < 0.1)
    images = images.astype(np.uint8)
    first, again, other = watch(images, Camera()), watch(images[:2], Camera()), watch(images, Camera(), seed=1)
    for one, two in zip(first, again, strict=False):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(first[0].time_us, other[0].time_us)
    for events in first:
        assert (np.diff(events.time_us) >= 0).all()
        assert min(field.min() for field in events) >= 0
        assert (events.x.max(), events.y.max(), events.polarity.max()) <= (33, 33, 1)


@pytest.mark.parametrize("images", [np.zeros((2, 28, 28)), np.zeros((28, 28), np.uint8), np.zeros((1, 8, 8), np.uint8)])
def test_only_bytes_like_mnists_are_recorded(images):
    with pytest.raises(InputError, match=r"^images: expected uint8 of shape \[N, 28, 28\]"):
        watch(images, Camera())


def test_more_events_than_there_is_room_for_are_an_error():
    images = (255 * (rng().random((1, 28, 28)) < 0.5)).astype(np.uint8)
    with pytest.raises(InputError, match=r"^images: expected pictures like MNIST's"):
        watch(images, replace(SILENT, threshold_off=0.003, threshold_on=0.003))
    assert CAPACITY > 100_000


@pytest.fixture(scope="module")
def pairs():
    """Real recordings of N-MNIST beside the simulation of the same images: events of both."""
    if not os.environ.get("TSNN_UQ_DATA"):
        pytest.skip("TSNN_UQ_DATA is not set")
    try:
        found = find_recordings("train")
    except InputError as error:
        pytest.skip(str(error))
    if any(one.state != "verified" for one in locate("mnist")):
        pytest.skip("TSNN_UQ_DATA has no mnist")
    from tsnn_uq.data import read_events

    real = [read_events(path) for path, _ in found.files[:150]]
    images = (255 * read_part(SOURCES["mnist"], "train").images[:150, 0]).round().to(torch.uint8).numpy()
    return real, watch(images, Camera())


def test_the_simulation_resembles_the_real_recordings(pairs):
    def pictures(recordings):  # [recordings, saccade, polarity, y, x]
        counts = np.zeros((len(recordings), 3, 2312))
        for count, events in zip(counts, recordings, strict=True):
            np.add.at(count, (np.searchsorted([90_000, 225_000], events.time_us), events.place), 1)
        return counts.reshape(len(recordings), 3, 2, 34, 34)

    def rate(recordings):  # [polarity, 5 ms]
        return sum(
            np.histogram2d(e.polarity, e.time_us, [[0, 1, 2], np.arange(0, 310_001, 5000)])[0] for e in recordings
        )

    def correlation(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    real, simulated = pairs
    sizes = np.array([[len(events.x) for events in recordings] for recordings in pairs])
    assert sizes[1].mean() == pytest.approx(sizes[0].mean(), rel=0.04)
    assert sizes[1].std() == pytest.approx(sizes[0].std(), rel=0.1)
    assert correlation(*sizes) > 0.98
    on = [np.mean([events.polarity.mean() for events in recordings]) for recordings in pairs]
    assert on[1] == pytest.approx(on[0], abs=0.01)
    assert correlation(rate(real), rate(simulated)) > 0.98
    one, two = pictures(real), pictures(simulated)
    assert two.sum((0, 3, 4)) == pytest.approx(one.sum((0, 3, 4)), rel=0.08)
    for saccade in range(3):
        for polarity in range(2):
            assert correlation(one.mean(0)[saccade, polarity], two.mean(0)[saccade, polarity]) > 0.96
    matched = np.mean([correlation(a, b) for a, b in zip(one, two, strict=True)])
    swapped = np.mean([correlation(a, b[:, ::-1]) for a, b in zip(one, two, strict=True)])
    assert matched > 0.92
    assert swapped < 0.7  # so the polarities are not mixed up
