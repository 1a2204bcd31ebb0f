"""Loss functions on logits or spike counts, beyond those of torch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from tsnn_uq.checks import InputError, check_dims, check_labels, check_positive, describe
from tsnn_uq.readout import logits_over_time

__all__ = ["EVERY", "check_loss_times", "distillation", "logits_for_loss", "spike_count"]

EVERY = "every"


def check_loss_times(times: str | Sequence[int]) -> None:
    """Raise unless `times` is valid for `logits_for_loss`."""
    if isinstance(times, str):
        if times and times != EVERY:
            raise InputError(f"loss_over_time: expected {EVERY!r} or numbers of steps; got {times!r}")
        return
    for step in times:
        check_positive("loss_over_time", step, integer=True)
    if len(set(times)) < len(times):
        raise InputError(f"loss_over_time: expected each step once; got {list(times)}")


def logits_for_loss(outputs: Tensor, times: str | Sequence[int]) -> Tensor:
    """The K predictions over time on which the loss is computed.

    Args:
        outputs: [T, N, C].
        times: ``"every"`` for each step's own outputs (Deng et al., "Temporal
            Efficient Training of Spiking Neural Network via Gradient Re-weighting", ICLR 2022, equation 9); or steps,
            counted from 1, for the means up to each of them.

    Returns:
        Logits [K, N, C].

    Raises:
        InputError: the outputs have no time axis, or a step is out of range.

    Example:
        >>> import torch
        >>> outputs = torch.tensor([[[4.0, 0.0]], [[0.0, 2.0]]])
        >>> logits_for_loss(outputs, "every").tolist(), logits_for_loss(outputs, [2]).tolist()
        ([[[4.0, 0.0]], [[0.0, 2.0]]], [[[2.0, 1.0]]])
    """
    running = logits_over_time(outputs)
    if times == EVERY:
        return outputs.to(running.dtype)
    steps = [int(step) for step in times]
    if max(steps) > len(running):
        raise InputError(f"loss_over_time: expected steps from 1 to {len(running)}; got {steps}")
    return running[[step - 1 for step in steps]]


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Distillation loss between student and teacher (Hinton, Vinyals and Dean, 2015).

    temperature^2 * KL(softmax(teacher / temperature) || softmax(student / temperature)), mean over inputs;
    the square keeps the size of the gradient independent of the temperature.

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
    """Squared error of the output neurons' spike counts (Shrestha and Orchard, 2018: SLAYER).

    1/2 sum over classes of (counts - wanted)^2, mean over inputs. SLAYER's own code ("numSpikes") spreads each error
    evenly over the T steps, which is this divided by T, and sums over inputs; it also filters the errors once more
    with the response kernel, which is a further factor except in the last few time constants.

    Args:
        counts: spikes of each output neuron over the window [N, C].
        target: class numbers [N].
        wanted: target counts of the right class, and of each other class.

    Returns:
        Scalar, squared spikes.

    Raises:
        InputError: the shapes do not match, a label is not a class, or the target of the right class is not larger.

    Example:
        >>> import torch
        >>> spike_count(torch.tensor([[12.0, 7.0]]), torch.tensor([0]), wanted=(10, 4))
        tensor(6.5000)
    """
    check_dims("counts", counts, "[N, C]")
    target = check_labels("target", target, counts.shape[1], len(counts))
    right, others = wanted
    if not 0 <= others < right < float("inf"):
        raise InputError(f"wanted: expected more spikes for the right class than for others, 0 or more; got {wanted}")
    aims = functional.one_hot(target, counts.shape[1]).to(counts.dtype) * (right - others) + others
    return (counts - aims).square().sum(1).mean() / 2
