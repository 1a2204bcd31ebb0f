from __future__ import annotations

import math

import pytest
import torch

from tsnn_uq.checks import InputError
from tsnn_uq.training.losses import distillation

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
    with pytest.raises(InputError, match=r"teacher: expected logits like the student's, .*\[2, 3\]; got .*\[2, 1\]"):
        distillation(torch.zeros(2, 3), torch.zeros(2, 1), 2.0)
