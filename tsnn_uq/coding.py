"""Input coding: from images to the network's input over time."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import pad

from tsnn_uq.checks import InputError, check_choice, check_fraction, check_positive, describe
from tsnn_uq.constant_input import is_constant, repeat_over_time

__all__ = [
    "CODINGS",
    "Coding",
    "bernoulli_rate",
    "constant_current",
    "is_constant_over_time",
    "latency",
    "pack_spikes",
    "unpack_spikes",
]

CODINGS = ("constant", "rate", "latency", "events")


def constant_current(x: Tensor, steps: int) -> Tensor:
    """The same input at every step (direct coding), without copying it.

    The result has stride 0 over time, which `is_constant_over_time` detects, so that a layer can compute its response
    once. Reshaping the axes after the first keeps the stride; arithmetic on the result loses it.

    Args:
        x: [N, ...] input of any kind.
        steps: number of time steps T.

    Returns:
        [T, N, ...], a view of `x`: do not write to it.

    Example:
        >>> constant_current(torch.tensor([0.5]), 3)
        tensor([[0.5000],
                [0.5000],
                [0.5000]])
    """
    check_positive("steps", steps, integer=True)
    return repeat_over_time(x, steps)


def is_constant_over_time(x: Tensor) -> bool:
    """Whether `x` [T, N, ...] is one repeated step, judged by its memory layout, never by its values.

    Example:
        >>> is_constant_over_time(constant_current(torch.ones(2), 4)), is_constant_over_time(torch.ones(4, 2))
        (True, False)
    """
    return is_constant(x)


def bernoulli_rate(x: Tensor, steps: int, generator: Generator) -> Tensor:
    """Rate coding: independent random spikes at each step with P(spike) = x, a Poisson code in discrete time.

    Args:
        x: [N, ...] intensities in [0, 1].
        steps: number of time steps T.
        generator: source of the spikes, on the device of `x`.

    Returns:
        [T, N, ...] of 0 and 1, in the dtype of `x`.

    Raises:
        InputError: a value is outside [0, 1].
    """
    _check_intensities(x)
    return torch.bernoulli(constant_current(x, steps), generator=generator)


def latency(x: Tensor, steps: int) -> Tensor:
    """Latency coding: one spike per input, earlier for stronger inputs; none for inputs of 0.

    The spike comes at step round((1 - x) (T - 1)), halves to the even step. This is the linear form of coding by the
    time to the first spike (Thorpe, Delorme and Van Rullen 2001, "Spike-based strategies for rapid processing"), as in
    ``snntorch.spikegen.latency(linear=True, normalize=True, clip=True)``, with threshold 0.

    Args:
        x: [N, ...] intensities in [0, 1].
        steps: number of time steps T.

    Returns:
        [T, N, ...] of 0 and 1, in the dtype of `x`.

    Raises:
        InputError: a value is outside [0, 1].

    Example:
        >>> latency(torch.tensor([1.0, 0.5, 0.0]), 3)
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 0.]])
    """
    _check_intensities(x)
    check_positive("steps", steps, integer=True)
    first = ((1 - x) * (steps - 1)).round().to(torch.int64)
    spikes = x.new_zeros(steps, *x.shape)
    return spikes.scatter_(0, first.unsqueeze(0), (x > 0).to(x.dtype).unsqueeze(0))


def pack_spikes(spikes: Tensor) -> Tensor:
    """Pack eight spikes into a byte, the first one in the lowest bit, as ``numpy.packbits(..., bitorder="little")``.

    Args:
        spikes: [..., K] of 0 and 1, of any dtype.

    Returns:
        uint8 [..., ceil(K / 8)] on the device of `spikes`; bits after the last spike are zero.

    Raises:
        InputError: a value is neither 0 nor 1, or `spikes` has no axis.

    Example:
        >>> pack_spikes(torch.tensor([1, 0, 1, 0, 0, 0, 0, 0, 1])).tolist()
        [5, 1]
    """
    if not spikes.dim():
        raise InputError(f"spikes: expected a tensor of shape [..., K]; got {describe(spikes)}")
    bits = spikes.to(torch.uint8)
    if spikes.dtype != torch.bool and not ((spikes == bits) & (bits <= 1)).all():
        raise InputError("spikes: expected only 0 and 1; got other values")
    bits = pad(bits, (0, -bits.shape[-1] % 8))
    places = torch.arange(8, dtype=torch.uint8, device=bits.device)
    return (bits.unflatten(-1, (bits.shape[-1] // 8, 8)) << places).sum(-1, dtype=torch.uint8)


def unpack_spikes(packed: Tensor, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Unpack the spikes that `pack_spikes` packed.

    Args:
        packed: uint8 [..., ceil(count / 8)].
        count: number of spikes K.
        dtype: of the result.

    Returns:
        [..., K] of 0 and 1, on the device of `packed`.

    Raises:
        InputError: `packed` is not uint8, or its last axis does not fit `count`.

    Example:
        >>> unpack_spikes(torch.tensor([5, 1], dtype=torch.uint8), 9, torch.int64).tolist()
        [1, 0, 1, 0, 0, 0, 0, 0, 1]
    """
    check_positive("count", count, integer=True)
    if packed.dtype != torch.uint8 or not packed.dim() or packed.shape[-1] != -(-count // 8):
        raise InputError(f"packed: expected uint8 of shape [..., {-(-count // 8)}]; got {describe(packed)}")
    byte = torch.arange(256, device=packed.device).unsqueeze(1)
    table = (byte >> torch.arange(8, device=packed.device) & 1).to(dtype)
    spikes = table.index_select(0, packed.flatten().int())
    return spikes.view(*packed.shape[:-1], 8 * packed.shape[-1])[..., :count]


class Coding(nn.Module):
    """The first layer of a network: images [N, ...] to input over time [T, N, ...].

    Args:
        kind: ``"constant"`` (`constant_current`), ``"rate"`` (`bernoulli_rate`) or ``"latency"`` (`latency`); with
            ``"events"`` the inputs are recordings, and are over time already: spikes packed to bits, or currents.
        steps: number of time steps T.
        gain: factor on the output: the current of intensity 1, or of a spike.

    Attributes:
        generators: sources of the spikes of ``"rate"``, one for each of the batch's equal parts, to be set before
            use; the others do not need them.

    Raises:
        InputError: the kind is unknown, or steps or gain is not positive.

    Example:
        >>> Coding("constant", steps=2, gain=3.0)(torch.tensor([[0.5]])).flatten().tolist()
        [1.5, 1.5]
    """

    def __init__(self, kind: str = "constant", steps: int = 8, gain: float = 1.0) -> None:
        super().__init__()
        self.kind = check_choice("kind", kind, CODINGS)
        check_positive("steps", steps, integer=True)
        check_positive("gain", gain)
        self.steps = steps
        self.gain = gain
        self.generators: tuple[Generator, ...] = ()

    @property
    def stochastic(self) -> bool:
        """Whether two calls with the same input differ."""
        return self.kind == "rate"

    def forward(self, images: Tensor) -> Tensor:
        """Code `images` [N, ...], or recordings packed to bits [N, T, bytes], as [T, N, ...]; errors as in `code`."""
        return self.code(images, self.generators)

    def code(self, images: Tensor, generators: tuple[Generator, ...]) -> Tensor:
        """Code `images` [N, ...] as [T, N, ...], drawing from `generators` instead of the module's own.

        Raises:
            InputError: the kind is ``"rate"`` and no generators are set, ``"rate"`` or ``"latency"`` and a value is
                outside [0, 1], or ``"events"`` and there are not T steps of packed spikes or floats.
        """
        if self.kind == "events":
            packed = images.dtype == torch.uint8 and images.dim() == 3
            if not (packed or (images.is_floating_point() and images.dim() > 2)) or images.shape[1] != self.steps:
                wanted = f"recordings packed to bits, uint8 [N, {self.steps}, bytes], or floats [N, {self.steps}, ...]"
                raise InputError(f"images: expected {wanted}; got {describe(images)}")
            return images.transpose(0, 1)
        if self.kind == "constant":
            return constant_current(images if self.gain == 1 else self.gain * images, self.steps)
        if self.kind == "latency":
            return self.gain * latency(images, self.steps)
        if not generators or len(images) % len(generators):
            raise InputError(
                "generators: expected set_generator(model, torch.Generator()...) before rate coding, as many as divide "
                f"the {len(images)} images; got {len(generators)}"
            )
        parts = zip(images.chunk(len(generators)), generators, strict=True)
        return self.gain * torch.cat([bernoulli_rate(part, self.steps, generator) for part, generator in parts], dim=1)

    def extra_repr(self) -> str:
        """Parameters, for ``print(network)``."""
        return f"{self.kind!r}, steps={self.steps}, gain={self.gain}"


def _check_intensities(x: Tensor) -> None:
    if not x.is_floating_point():
        raise InputError(f"x: expected floating-point intensities; got {describe(x)}")
    if x.numel():
        for bound in torch.aminmax(x.detach()):
            check_fraction("x", bound.item())
