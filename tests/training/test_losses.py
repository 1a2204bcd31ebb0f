from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.checks import InputError
from tsnn_uq.training.losses import distillation, spike_count

STUDENT = [[1.0, 2.0, -1.0], [0.0, 0.0, 0.0]]
TEACHER = [[0.5, 2.5, 0.0], [3.0, -3.0, 0.0]]


def softmax(row, temperature):
    weights = [math.exp(value / temperature) for value in row]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0])
def test_it_is_the_sum_written_out(temperature):
    divergences = [
        sum(q * math.log(q / p) for p, q in zip(softmax(ours, temperature), softmax(theirs, temperature), strict=True))
        for ours, theirs in zip(STUDENT, TEACHER, strict=True)
    ]
    expected = temperature**2 * sum(divergences) / len(divergences)
    student, teacher = (torch.tensor(rows, dtype=torch.float64) for rows in (STUDENT, TEACHER))
    assert distillation(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-12)


def test_hot_predictions_are_matched_by_their_centred_logits():
    """Hinton, Vinyals and Dean (2015), section 2.1: at high temperature, half the squared distance over C."""
    student, teacher = (torch.tensor(rows, dtype=torch.float64) for rows in (STUDENT, TEACHER))
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    expected = difference.square().sum(1).mean() / (2 * student.shape[1])
    assert distillation(student, teacher, 1e4).item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_gradient_is_right_and_equal_predictions_have_none():
    student, teacher = (torch.tensor(rows, dtype=torch.float64) for rows in (STUDENT, TEACHER))
    assert torch.autograd.gradcheck(lambda x: distillation(x, teacher, 2.0), student.requires_grad_())
    loss = distillation(student, student.detach() + 5, 2.0)  # a softmax does not see what is added to all
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max() < 1e-12


def test_other_shapes_are_refused_not_broadcast():
    with pytest.raises(InputError, match=r"teacher: expected logits like the student's, .*\[2, 3\]"):
        distillation(torch.zeros(2, 3), torch.zeros(2, 1), 2.0)


@given(st.data(), st.integers(1, 5), st.integers(1, 4))
def test_spike_count_is_the_sum_written_out(data, inputs, classes):
    number = st.integers(0, 300)
    counts = data.draw(st.lists(st.lists(number, min_size=classes, max_size=classes), min_size=inputs, max_size=inputs))
    target = data.draw(st.lists(st.integers(0, classes - 1), min_size=inputs, max_size=inputs))
    others = data.draw(number)
    right = others + data.draw(st.integers(1, 60))
    expected = 0.0
    for row, label in zip(counts, target, strict=True):
        for place, count in enumerate(row):
            expected += 0.5 * (count - (right if place == label else others)) ** 2 / inputs
    got = spike_count(torch.tensor(counts, dtype=torch.float64), torch.tensor(target), (right, others))
    assert got.item() == pytest.approx(expected, rel=1e-12)


def test_spike_counts_have_the_gradient_of_slayer_up_to_its_factor():
    """SLAYER's error at each of T steps is (count - wanted) / T; ours reaches every spike of the window alike."""
    spikes = (
        torch.rand(20, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).round().requires_grad_()
    )
    target = torch.tensor([3, 0, 1])
    spike_count(spikes.sum(0), target, (9, 2)).backward()
    wanted = torch.full((3, 4), 2.0, dtype=torch.float64)
    wanted[[0, 1, 2], target] = 9
    error = (spikes.detach().sum(0) - wanted) / 20
    torch.testing.assert_close(spikes.grad, (error * 20 / 3).expand(20, 3, 4))


def test_wanted_counts_cost_nothing():
    counts = torch.tensor([[5.0, 30.0, 5.0], [30.0, 5.0, 5.0]], requires_grad=True)
    loss = spike_count(counts, torch.tensor([1, 0]), (30, 5))
    loss.backward()
    assert loss == 0
    assert not counts.grad.any()


@pytest.mark.parametrize(
    ("counts", "target", "wanted", "message"),
    [
        ((2, 3, 4), [0, 1], (9, 1), r"counts: expected a tensor of shape \[N, C\]"),
        ((2, 3), [0, 3], (9, 1), "target: expected labels from 0 to 2"),
        ((2, 3), [0], (9, 1), "target: expected 2 labels, one per input"),
        ((2, 3), [0, 1], (1, 9), "wanted: expected more spikes for the right"),
        ((2, 3), [0, 1], (1, -9), "wanted: expected more spikes for the right"),
        ((2, 3), [0, 1], (math.nan, 0), "wanted: expected more spikes for the right"),
    ],
)
def test_counts_that_do_not_fit_are_refused(counts, target, wanted, message):
    with pytest.raises(InputError, match=message):
        spike_count(torch.zeros(counts), torch.tensor(target), wanted)
