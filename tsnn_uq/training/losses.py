"""Loss functions on logits that are more than one call of torch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tsnn_uq.checks import InputError, describe

__all__ = ["distillation"]


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """How far a student's softened prediction is from its teacher's (Hinton, Vinyals and Dean, 2015).

    temperature^2 * KL(softmax(teacher / temperature) || softmax(student / temperature)), mean over inputs;
    the square keeps the gradient's size as the temperature changes.

    Args:
        student: logits [N, C].
        teacher: logits [N, C], without gradient.
        temperature: above zero.

    Returns:
        Scalar, nats.

    Raises:
        InputError: the shapes differ.

    Example:
        >>> import torch
        >>> distillation(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]]), temperature=2.0)
        tensor(0.)
    """
    if student.shape != teacher.shape:
        raise InputError(f"teacher: expected logits like the student's, {describe(student)}; got {describe(teacher)}")
    divergence = functional.kl_div(
        (student / temperature).log_softmax(-1),
        (teacher / temperature).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence
