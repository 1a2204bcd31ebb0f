"""Simulate the event camera of N-MNIST on MNIST's digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsnn_uq.checks import InputError, describe
from tsnn_uq.data.events import PLACES, SIDE

__all__ = ["PATH", "TIME_BIT", "Camera", "Sensor", "record"]

Array = NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])

KNOT_US = 5_000
# The digit's centre on the sensor, (column, row) every 5 ms: down, then up and right, then back to the left.
PATH = (
    (14.02, 14.76), (14.02, 14.77), (14.00, 14.82), (13.97, 15.02), (13.91, 15.29), (13.88, 15.64), (13.86, 15.99),
    (13.82, 16.58), (13.87, 17.01), (13.90, 17.66), (13.94, 18.30), (14.18, 18.91), (14.51, 19.34), (14.88, 19.76),
    (15.19, 20.04), (15.47, 20.18), (15.49, 20.22), (15.55, 20.30), (15.60, 20.27), (15.66, 20.18), (15.78, 20.09),
    (15.78, 20.02), (15.89, 19.95), (15.98, 19.97), (16.09, 19.96), (16.27, 19.87), (16.56, 19.71), (16.95, 19.34),
    (17.26, 18.90), (17.57, 18.28), (17.87, 17.70), (17.95, 17.04), (18.04, 16.47), (18.21, 15.89), (18.40, 15.42),
    (18.68, 15.05), (18.79, 14.92), (18.93, 14.73), (18.99, 14.77), (19.06, 14.81), (19.19, 14.85), (19.32, 14.90),
    (19.43, 14.93), (19.51, 14.91), (19.55, 14.86), (19.58, 14.83), (19.37, 14.84), (18.79, 14.87), (18.35, 14.91),
    (17.78, 14.96), (17.31, 14.93), (16.77, 14.93), (16.15, 14.90), (15.70, 14.84), (15.15, 14.80), (14.87, 14.71),
    (14.63, 14.64), (14.35, 14.63), (14.07, 14.61), (13.95, 14.62), (13.88, 14.64), (13.85, 14.66), (13.85, 14.66),
)  # fmt: skip
HOT = ((15, 7, 3.0, 2.6), (30, 18, 6.0, 7.5), (13, 1, 0.65, 0.89))  # row, column, OFF and ON events a recording
TIME_BIT = 12  # an event is one number, time_us << 12 | place
STEP_PIXELS = 0.2  # along the path; in between the light is taken to change linearly
MARGIN = 4  # pixels of the picture outside the frame, more than it moves
CAPACITY = 1 << 18


def compiled(function: Function) -> Function:
    """`function` compiled on its first call."""
    return njit(nogil=True, cache=True, error_model="numpy")(function)


@dataclass(frozen=True)
class Camera:
    """Parameters of the event camera; the defaults are fitted to N-MNIST's first 1,000 training recordings.

    Args:
        contrast: share of the light that the digit's full intensity absorbs. The digit is dark on a bright
            background, since N-MNIST's polarity is OFF where a digit arrives.
        threshold_off: decrease of the log intensity at which a pixel sends an OFF event.
        threshold_on: the same for an ON event.
        mismatch: standard deviation of the logarithm of a threshold over the pixels, the same in all recordings.
        jitter: relative standard deviation of a threshold from event to event.
        refractory_us: minimum time between two events of a pixel, in microseconds; the later one is delayed.
        blur: standard deviation of the lens's blur in pixels.
        start_us: standard deviation of the start of the recording relative to the motion, in microseconds.
        duration_us: mean length of a recording, in microseconds.
        noise_off: mean number of spontaneous OFF events of a pixel in a recording.
        noise_on: the same for ON events, which are more frequent.
        noise_spread: standard deviation over pixels of the logarithm of these numbers.
    """

    contrast: float = 0.75
    threshold_off: float = 0.189
    threshold_on: float = 0.188
    mismatch: float = 0.1
    jitter: float = 0.1
    refractory_us: float = 1_700.0
    blur: float = 0.6
    start_us: float = 1_450.0
    duration_us: float = 307_800.0
    noise_off: float = 0.005
    noise_on: float = 0.116
    noise_spread: float = 0.5


class Sensor:
    """A camera's pixels, each with its own thresholds and noise.

    Args:
        camera: the parameters of their distributions.
        rng: source of the differences between pixels.

    Attributes:
        thresholds: [2, 34, 34], of OFF and ON events.
        noise: [2312] cumulative sum over places of the mean number of spontaneous events in a recording.
    """

    def __init__(self, camera: Camera, rng: np.random.Generator) -> None:
        shape = (2, SIDE, SIDE)
        means = np.array([camera.threshold_off, camera.threshold_on]).reshape(2, 1, 1)
        self.thresholds = means * np.exp(camera.mismatch * rng.standard_normal(shape))
        spread = np.exp(camera.noise_spread * rng.standard_normal(shape) - camera.noise_spread**2 / 2)
        rates = np.array([camera.noise_off, camera.noise_on]).reshape(2, 1, 1) * spread
        if camera.noise_on:
            for row, column, *rate in HOT:
                rates[:, row, column] = rate
        self.noise = np.cumsum(rates.reshape(-1))


def record(images: Array, camera: Camera, sensor: Sensor, rng: np.random.Generator) -> list[Array]:
    """Record images as the camera is moved along `PATH`.

    The light of a pixel is log(1 - contrast * picture), the picture blurred and shifted bilinearly. A pixel sends an
    event whenever this has changed by its threshold since its last one, at the time that linear interpolation gives.

    Args:
        images: uint8 [N, 28, 28] intensities.
        camera: its settings.
        sensor: its pixels.
        rng: source of the noise. A recording does not depend on the images after it.

    Returns:
        N arrays of int32, one number for each event in the order of time: ``time_us << 12 | place``.

    Raises:
        InputError: `images` are not uint8 [N, 28, 28], or one causes more events than the buffer holds.
    """
    from scipy.ndimage import gaussian_filter

    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise InputError(f"images: expected uint8 of shape [N, 28, 28]; got {images.dtype} {describe(images.shape)}")
    times, corners, parts = _course()
    words, recordings = np.empty(CAPACITY, np.int64), []
    constants = camera.contrast, camera.jitter, camera.refractory_us
    for image in images:
        picture = gaussian_filter(np.pad(image / 255, MARGIN + (SIDE - 28) // 2), camera.blur)
        delay = camera.start_us * min(max(rng.standard_normal(), -3.0), 3.0)
        end = camera.duration_us + delay
        pixels = sensor.thresholds, sensor.noise
        count = _record(picture, corners, parts, times + delay, end, constants, *pixels, rng, words)
        if count > CAPACITY:
            raise InputError(f"images: expected pictures like MNIST's; got one with {count} events")
        recordings.append(np.sort(words[:count]).astype(np.int32))
    return recordings


def _course() -> tuple[Array, Array, Array]:
    """Times [K] in microseconds, and the position of the sensor's first pixel on the padded image at each.

    Positions are (row, column) [2, K], as their integer parts and their fractions.
    """
    knots, fine = np.array(PATH), np.arange(0.0, KNOT_US * (len(PATH) - 1) + 1, 100)
    course = np.stack([np.interp(fine, KNOT_US * np.arange(len(knots)), axis) for axis in (knots[:, 1], knots[:, 0])])
    length = np.append(0, np.cumsum(np.hypot(*np.diff(course))))
    times = np.interp(np.arange(0.0, length[-1] + STEP_PIXELS, STEP_PIXELS), length, fine)
    place = MARGIN + (SIDE - 1) / 2 - np.stack([np.interp(times, fine, axis) for axis in course])
    corners = np.floor(place).astype(np.int64)
    return times, corners, place - corners


@compiled
def _record(
    picture: Any,
    corners: Any,
    parts: Any,
    times: Any,
    end: Any,
    constants: Any,
    thresholds: Any,
    noise: Any,
    rng: Any,
    words: Any,
) -> int:
    """Write the events of one recording to `words`, unsorted; returns their number."""
    contrast, jitter, refractory = constants
    rows, columns = np.nonzero(picture > 1e-3)
    levels, count = np.empty(len(times)), 0
    if len(rows):
        for y in range(max(0, rows.min() - corners[0].max() - 1), min(SIDE, rows.max() - corners[0].min() + 1)):
            for x in range(
                max(0, columns.min() - corners[1].max() - 1), min(SIDE, columns.max() - corners[1].min() + 1)
            ):
                _log_intensities(picture, y, x, corners, parts, contrast, levels)
                pixel = thresholds[0, y, x], thresholds[1, y, x], SIDE * y + x
                count = _pixel_events(levels, times, pixel, jitter, refractory, end, rng, words, count)
    for _ in range(rng.poisson(noise[-1])):
        place = min(np.searchsorted(noise, noise[-1] * rng.random(), side="right"), PLACES - 1)
        count = _append_event(end * rng.random(), place, words, count)
    return count


@compiled
def _log_intensities(picture: Any, y: int, x: int, corners: Any, parts: Any, contrast: float, levels: Any) -> None:
    """Log intensity at pixel (y, x) at each of the K points of the course."""
    last, level = 0.0, 0.0
    for k in range(len(levels)):
        row, column, down, right = y + corners[0, k], x + corners[1, k], parts[0, k], parts[1, k]
        above = (1 - right) * picture[row, column] + right * picture[row, column + 1]
        below = (1 - right) * picture[row + 1, column] + right * picture[row + 1, column + 1]
        value = (1 - down) * above + down * below
        if value != last:
            last, level = value, np.log(1 - contrast * value)
        levels[k] = level


@compiled
def _pixel_events(
    levels: Any, times: Any, pixel: Any, jitter: float, refractory: float, end: float, rng: Any, words: Any, count: int
) -> int:
    """Append the events of one pixel, from its levels [K] at the times [K]; returns the new number of words."""
    off, on, place = pixel
    # The intensity before the recording is unknown, so the level of the last event is drawn between the thresholds.
    reference = levels[0] + off - (off + on) * rng.random()
    factor, ready = 1 + jitter * rng.standard_normal(), -np.inf
    for k in range(1, len(levels)):
        change = levels[k] - levels[k - 1]
        while change != 0:
            rises = change > 0
            goal = reference + factor * on if rises else reference - factor * off
            if (levels[k] < goal) if rises else (levels[k] > goal):
                break
            part = min(max((goal - levels[k - 1]) / change, 0.0), 1.0)
            time = max(times[k - 1] + part * (times[k] - times[k - 1]), ready)
            ready, reference, factor = time + refractory, goal, 1 + jitter * rng.standard_normal()
            if 0 <= time < end:
                count = _append_event(time, rises * SIDE * SIDE + place, words, count)
    return count


@compiled
def _append_event(time: float, place: int, words: Any, count: int) -> int:
    if count < len(words):
        words[count] = np.int64(time) << TIME_BIT | place
    return count + 1
