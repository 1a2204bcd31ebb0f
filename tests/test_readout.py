from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.checks import InputError
from tsnn_uq.readout import Gain, logits, logits_over_time


@given(st.integers(1, 9), st.integers(0, 3), st.integers(2, 4))
def test_logits_after_each_step_are_means_of_the_outputs_so_far(steps, inputs, classes):
    outputs = torch.randn(steps, inputs, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    over_time = logits_over_time(outputs)
    assert over_time.shape == outputs.shape
    for t in range(steps):
        torch.testing.assert_close(over_time[t], sum(outputs[: t + 1]) / (t + 1))
    torch.testing.assert_close(over_time[-1], logits(outputs))


def test_outputs_without_a_time_axis_are_logits():
    outputs = torch.ones(2, 3)
    assert logits(outputs) is outputs


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_of_half_precision_do_not_vanish(dtype):
    outputs = torch.tensor([[[0.0, 20.0]], [[0.0, 40.0]]], dtype=dtype)
    for found in (logits(outputs), logits_over_time(outputs)[-1], logits(outputs.mean(0))):
        assert found.dtype == torch.float32
        assert found.softmax(-1)[0, 0].item() == pytest.approx(9.36e-14, rel=0.01)


def test_gain_multiplies():
    assert Gain(10.0)(torch.tensor([0.0, 1.0])).tolist() == [0.0, 10.0]


@pytest.mark.parametrize("read", [logits, logits_over_time])
@pytest.mark.parametrize("outputs", [torch.ones(3), torch.ones(1, 1, 1, 1), (1, 2)])
def test_other_outputs_are_refused(read, outputs):
    with pytest.raises(InputError, match=r"^outputs: expected shape \[T, N, C\] or \[N, C\]"):
        read(outputs)


def test_over_time_there_must_be_time():
    with pytest.raises(InputError, match=r"^outputs: expected shape \[T, N, C\] for values over time"):
        logits_over_time(torch.ones(2, 3))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64])
def test_spikes_and_counts_are_numbers(dtype):
    spikes = torch.tensor([[[1, 0]], [[0, 0]], [[1, 1]], [[1, 0]]]).to(dtype)  # [T, N, C]
    assert logits(spikes).tolist() == [[0.75, 0.25]]
    assert logits_over_time(spikes)[1].tolist() == [[0.5, 0.0]]
    assert logits(spikes[0]).dtype == torch.get_default_dtype()


@pytest.mark.parametrize("read", [logits, logits_over_time])
@pytest.mark.parametrize(
    ("outputs", "match"),
    [
        (torch.ones(4, 1), r"at least two classes; got a float32 tensor of shape \[4, 1\] \(make one logit z two: "),
        (torch.ones(2, 4, 1), "at least two classes"),
        (torch.ones(2, 4, 0), "at least two classes"),
        (torch.ones(2, 4, 3, dtype=torch.complex64), "real numbers"),
    ],
)
def test_what_is_no_logit_is_refused(read, outputs, match):
    with pytest.raises(InputError, match=rf"^outputs: expected {match}"):
        read(outputs)
