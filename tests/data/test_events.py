from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.events import as_bytes
from tsnn_uq.checks import InputError
from tsnn_uq.coding import pack_spikes, unpack_spikes
from tsnn_uq.data import EventDataset, Events, parse_events, read_events
from tsnn_uq.data.events import Packer, Windows

# (x, y, polarity, time), times among them on both sides of a window's edge.
times = st.integers(0, 400_000) | st.sampled_from([0, 999, 1000, 4999, 5000, 16_099, 16_100, 305_999, 306_000, 999_999])
one_event = st.tuples(st.integers(0, 33), st.integers(0, 33), st.integers(0, 1), times)
recordings = st.lists(one_event, min_size=1, max_size=30).map(lambda rows: sorted(rows, key=lambda row: row[3]))


def dataset(count: int = 3, steps: int = 4, bin_ms: float = 2.5, rate: float = 0.01) -> EventDataset:
    spikes = torch.rand(count, steps, 2312, generator=torch.Generator().manual_seed(0)) < rate
    return EventDataset(pack_spikes(spikes), torch.arange(count), "some", count, bin_ms)


@given(recordings)
def test_what_was_written_is_read(rows):
    events = parse_events(as_bytes(rows), "file")
    assert list(zip(*(field.tolist() for field in events), strict=True)) == rows
    assert events.place.tolist() == [p * 34 * 34 + y * 34 + x for x, y, p, _ in rows]


@given(recordings, st.sampled_from([0.1, 0.57, 1.0, 4.35, 5.0, 16.1, 306.0]), st.sampled_from([None, 1, 20]))
def test_a_bit_is_one_where_an_event_falls_into_its_window(rows, bin_ms, steps):
    windows = Windows(bin_ms, steps)
    width = round(1000 * bin_ms)  # microseconds, whole for all of these
    count = -(-306_000 // width) if steps is None else steps
    expected = np.zeros((count, 2, 34, 34), dtype=bool)
    for x, y, polarity, time in rows:
        if time // width < count:
            expected[time // width, polarity, y, x] = True

    events, packer = parse_events(as_bytes(rows), "file"), Packer(windows)
    packer.pack(np.array([7]), np.array([0]))  # leaves nothing behind
    packed = packer.pack(events.place, events.time_us)
    assert packed.dtype == torch.uint8
    assert packed.shape == (count, 289)
    assert np.array_equal(unpack_spikes(packed, 2312, torch.bool).view(count, 2, 34, 34).numpy(), expected)


@pytest.mark.parametrize("bin_ms", [0.0015, 0.57, 2.5, 5.0])
def test_events_of_a_data_set_are_packed_to_itself(bin_ms):
    some = dataset(bin_ms=bin_ms)
    for index in range(len(some)):
        events = some.events(index)
        assert len(events.x) > 20
        assert (np.diff(events.time_us) >= 0).all()
        packed = Packer(Windows(bin_ms, some.steps)).pack(events.place, events.time_us)
        assert torch.equal(packed, some.images[index])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "expected events of five bytes"),
        (as_bytes([(1, 2, 0, 3)])[:-1], "expected events of five bytes"),
        (as_bytes([(1, 2, 0, 3), (34, 2, 0, 4)]), r"expected a pixel of 34 x 34; got x = 34, y = 2 at 4 us in event 1"),
        (as_bytes([(1, 240, 1, 3)]), r"expected a pixel of 34 x 34; got x = 1, y = 240 at 3 us in event 0"),
        (as_bytes([(1, 2, 0, 3), (1, 2, 0, 2**23 - 1)]), r"expected a time below a second; got .* at 8388607 us in ev"),
        (as_bytes([(1, 2, 0, 30), (1, 2, 0, 31), (5, 6, 1, 29)]), r"expected times in order; .* at 29 us in event 2"),
        (b"<html>log in first</html>", "expected a pixel of 34 x 34"),
    ],
)
def test_a_bad_file_is_told(tmp_path, content, match):
    path = tmp_path / "00017.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"^{path}: {match}"):
        read_events(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"00001.bin: expected a recording of N-MNIST; No such file"):
        read_events(tmp_path / "00001.bin")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"bin_ms": 0.0}, "^bin_ms: expected a positive number"),
        ({"bin_ms": math.nan}, "^bin_ms: expected a positive number"),
        ({"bin_ms": 0.0005}, "^bin_ms: expected at least 0.001"),
        ({"steps": 0}, "^steps: expected a positive whole number"),
        ({"steps": 3.0}, "^steps: expected a positive whole number"),
    ],
)
def test_windows_must_have_a_width_and_a_number(arguments, match):
    with pytest.raises(InputError, match=match):
        Windows(**arguments)


def test_the_default_windows_hold_306_milliseconds():
    assert [Windows(bin_ms).steps for bin_ms in (0.6, 1.0, 5.0, 306.0, 400.0)] == [510, 306, 62, 1, 1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": torch.zeros(3, 4, 2, 34, 34)}, r"^images: expected a tensor of shape \[N, T, 289\]"),
        ({"images": torch.zeros(3, 4, 289)}, r"^images: expected packed spikes, uint8 \[N, T, 289\]"),
        ({"images": torch.zeros(3, 4, 288, dtype=torch.uint8)}, r"^images: expected packed spikes.*\[3, 4, 288\]"),
        ({"labels": torch.arange(2)}, r"^labels: expected 3 labels"),
    ],
)
def test_a_data_set_of_events_checks_itself(change, match):
    with pytest.raises(InputError, match=match):
        dataclasses.replace(dataset(), **change)


def test_recordings_are_selected_and_joined_with_their_labels():
    some = dataset()
    assert (len(some), some.steps, some.shape) == (3, 4, (2, 34, 34))
    other = dataclasses.replace(some.select(torch.tensor([2, 0])), skipped=("a bad one",))
    assert isinstance(other, EventDataset)
    assert other.labels.tolist() == [2, 0]
    assert torch.equal(other.images, some.images[[2, 0]])
    both = some.joined(other)
    assert both.labels.tolist() == [0, 1, 2, 2, 0]
    assert torch.equal(both.images[3:], other.images)
    assert (both.skipped, both.bin_ms) == (("a bad one",), 2.5)
    assert some.subset(2).labels.tolist() == some.subset(3).labels.tolist()[:2]


def test_events_know_their_place():
    events = Events(*(np.array([number]) for number in (33, 2, 1, 0)))
    assert events.place.tolist() == [34 * 34 + 2 * 34 + 33]
