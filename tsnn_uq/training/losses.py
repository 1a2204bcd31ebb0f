"""Loss functions on logits or spike counts that are more than one call of torch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from tsnn_uq.checks import InputError, check_dims, check_labels, describe

__all__ = ["distillation", "spike_count"]


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


def spike_count(counts: Tensor, target: Tensor, wanted: tuple[float, float]) -> Tensor:
    """How far the output neurons' spike counts are from those wanted (Shrestha and Orchard, 2018: SLAYER).

    1/2 sum over classes of (counts - wanted)^2, mean over inputs. SLAYER's own code ("numSpikes") spreads each error
    evenly over the T steps, which is this divided by T, and sums over inputs; it also sends the errors back through the
    response kernel once more, which is another factor but in the last few time constants.

    Args:
        counts: spikes of each output neuron over the window [N, C].
        target: class numbers [N].
        wanted: spikes wanted of the right class, and of each other class.

    Returns:
        Scalar, squared spikes.

    Raises:
        InputError: the shapes do not fit, a label is no class, or the right class is not to spike more than the others.

    Example:
        >>> import torch
        >>> spike_count(torch.tensor([[12.0, 7.0]]), torch.tensor([0]), wanted=(10, 4))
        tensor(6.5000)
    """
    check_dims("counts", counts, "[N, C]")
    target = check_labels("target", target, counts.shape[1], len(counts))
    right, others = wanted
    if not 0 <= others < right < float("inf"):
        raise InputError(f"wanted: expected more spikes of the right class than of others, 0 or more; got {wanted}")
    aims = functional.one_hot(target, counts.shape[1]).to(counts.dtype) * (right - others) + others
    return (counts - aims).square().sum(1).mean() / 2
