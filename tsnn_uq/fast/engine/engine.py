"""Ternary inference: a trained network, run by integer sums over active inputs, also with random masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import methodcaller
from typing import Any

import torch
from torch import Generator, Tensor, nn

from tsnn_uq.batches import device_of
from tsnn_uq.checks import InputError, check_choice, check_positive, describe
from tsnn_uq.coding import is_constant_over_time
from tsnn_uq.devices import require_float64
from tsnn_uq.fast.compilers import compiler_for
from tsnn_uq.fast.engine.layers import Layer, have_kernels
from tsnn_uq.fast.engine.masks import Draw, active, seeded
from tsnn_uq.fast.engine.reference import Reference
from tsnn_uq.fast.engine.translate import translate
from tsnn_uq.fast.threads import parallel_map
from tsnn_uq.readout import logits, logits_over_time
from tsnn_uq.seeds import drawn_seed
from tsnn_uq.stopping import Stopped, StoppingRule, Stream
from tsnn_uq.uncertainty.moments import Moments, gather_moments, samples_at_once

__all__ = ["BACKENDS", "Engine"]

BACKENDS = ("compiled", "reference")
MOST_INPUTS = 2**15 - 1  # of one output in the compiled backend: twice as many fit in two bytes of a counter


class Engine:
    """Runs a trained spiking network whose ternary weights are held at two bits, without a multiplication a synapse.

    Each neuron's input is the integer sum of the weights of the inputs that spiked, times one scale; silent inputs
    cost nothing. BatchNorm is folded into scale and bias. Layers that are not ternary run too, by sums of floats.

    The compiled backend (numba, on a processor) and the reference (PyTorch, on any device) give the same bits where
    sums are integers. Networks with leaky integrators, convolutions in groups, pooling that overlaps, or layers without
    spikes between them run in the reference. The network itself differs by the rounding of its float sums: for n active
    inputs by at most n 2**-23 of the sum of the magnitudes of their weights, which now and then decides a spike at the
    threshold.

    Args:
        network: a trained network of layers of `tsnn_uq.networks` and `tsnn_uq.neurons`, as
            `tsnn_uq.fast.engine.translate` has it, also from `tsnn_uq.exchange.from_nir`; or a Sequential of snnTorch
            or SpikingJelly. It is not changed, and what is changed in it later on is not seen. One that does not begin
            with a `Coding` takes currents over time [T, N, ...] where the others take images.
        input_shape: shape of an input, such as (1, 28, 28), for networks with convolutions or pooling.
        backend: ``"compiled"`` or ``"reference"``; by default the first where it can run.

    Attributes:
        backend: the backend chosen.
        device: where it runs.
        steps: time steps T; None for a network that takes currents over time.

    Raises:
        InputError: a module that the engine does not know, or a backend that cannot run.

    Example:
        >>> from tsnn_uq.networks import build
        >>> from tsnn_uq.quantization import freeze, ternarize
        >>> network = build("dropout", generator=torch.Generator().manual_seed(0), sizes=(64, 32, 10), steps=4)
        >>> _ = ternarize(network)
        >>> _ = freeze(network)
        >>> images = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
        >>> torch.allclose(Engine(network)(images), network.eval()(images), atol=1e-5)
        True
    """

    def __init__(
        self, network: nn.Module, input_shape: Sequence[int] | None = None, *, backend: str | None = None
    ) -> None:
        require_float64("network", device_of(network))
        self._program = translate(network, input_shape)
        self._shape = self._program.input_shape or self._program.layers[0].window.size
        self.steps = self._program.coding and self._program.coding.steps
        self.device = self._program.layers[0].scale.device
        best = self._best_backend()
        self.backend = check_choice("backend", backend or best, BACKENDS)
        if self.backend == "compiled" and best != "compiled":
            layers = "spikes between its layers, no convolutions in groups"
            where = f"the compiled one needs numba, a CPU, {layers} and at most {MOST_INPUTS:,} inputs of a neuron"
            raise InputError(f"backend: expected 'reference' here, since {where}; got 'compiled'")
        self._whole = self._runner(self._program.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights as they are kept; a row of ternary weights is padded to whole 32-bit words.

        The compiled backend adds up ternary layers of at most 128 outputs from a copy at a byte a weight.
        """
        return sum(layer.weight_bytes for layer in self._program.layers)

    def __call__(self, images: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Outputs [T, N, C] of images [N, ...], nothing random but a rate coding, which draws from `generator`."""
        return self._whole.outputs(self._code(images, generator), self._steps(images))[0]

    def logits(self, images: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Logits [N, C]: the mean of the outputs over time."""
        outputs: Tensor = self._whole.outputs(self._code(images, generator), self._steps(images), mean=True)
        return outputs.flatten(0, 2)

    def mc_predict(
        self,
        images: Tensor,
        *,
        samples: int = 32,
        generator: Generator,
        per_step: bool = False,
        batch_size: int = 256,
        memory_limit: int = 256 * 2**20,
        progress: Callable[[int], object] | None = None,
    ) -> Tensor:
        """Predict with S random draws: what `tsnn_uq.uncertainty.mc_predict` does with the network, from its masks.

        Dropout silences spikes, dropconnect takes weights away; what comes before the first random layer runs once.

        Args:
            images: [N, ...].
            samples: S, the number of draws.
            generator: where the randomness comes from; it advances by one draw.
            per_step: return the prediction after each time step.
            batch_size: images in a block; the masks depend on it, there as here.
            memory_limit: bytes that the masks and outputs of one pass may take, roughly.
            progress: called with the number of images done after each block.

        Returns:
            Probabilities [S, N, C], or [S, T, N, C] with `per_step`.

        Raises:
            InputError: nothing in the network is random, or the images do not fit.
        """
        blocks = self._blocks(images, samples, generator, not per_step, batch_size, memory_limit, samples, progress)
        probs = [torch.cat([_probabilities(outputs, per_step) for outputs in block]) for block in blocks]
        return torch.cat(probs, dim=-2)

    def mc_moments(
        self,
        images: Tensor,
        *,
        samples: int = 32,
        generator: Generator,
        tolerance: float | None = None,
        batch_size: int = 256,
        memory_limit: int = 256 * 2**20,
        progress: Callable[[int], object] | None = None,
    ) -> Moments:
        """Statistics of what `mc_predict` returns, in memory that does not grow with the number of samples.

        Arguments are those of `mc_predict`; `tolerance` and the result are those of `tsnn_uq.uncertainty.mc_moments`.
        """
        every = samples_at_once(tolerance)
        blocks = self._blocks(images, samples, generator, True, batch_size, memory_limit, every, progress)
        return Moments.cat([gather_moments(map(_probabilities, block), tolerance) for block in blocks])

    def run_until(
        self,
        stopping: StoppingRule,
        images: Tensor,
        *,
        samples: int | None = None,
        generator: Generator | None = None,
        batch_size: int = 256,
        progress: Callable[[int], object] | None = None,
    ) -> Stopped:
        """Run each image until a stopping rule is satisfied, and no step longer.

        After each time step the rule sees the predictions so far, the softmax of the mean output, and images that stop
        are not computed any further. The result is the rule's for the predictions of all steps, which are
        ``logits_over_time(engine(images)).softmax(-1)``, or with Monte Carlo samples ``engine.mc_predict(...,
        per_step=True)`` from the same generator: bit for bit with the compiled backend, and with the reference where
        sums are integers. Potentials take 4 bytes for each neuron, image of a block and sample.

        Args:
            stopping: a rule fitted on predictions of this network, of T steps; see `tsnn_uq.stopping`.
            images: [N, ...].
            samples: S random draws, whose mean decides; by default as many as the rule was fitted on, or none.
            generator: where the randomness comes from, if anything is random; it advances by one draw.
            batch_size: images in a block; the masks depend on it.
            progress: called with the number of images done after each block.

        Returns:
            `tsnn_uq.stopping.Stopped`: steps used from 1 to T, decisions and sets.

        Raises:
            InputError: the rule is not fitted, or on another number of steps, or as in `mc_predict`.
        """
        samples = stopping.samples if samples is None else samples
        check_positive("batch_size", batch_size, integer=True)
        images = self._checked(images)
        steps = self._steps(images)
        if stopping.steps not in (None, steps):
            raise InputError(f"stopping: expected a rule fitted on {steps} steps; got one on {stopping.steps}")
        seed = None if samples is None else self._seed(samples, generator)
        found: list[Stopped] = []
        for block, part in enumerate(images.split(batch_size, self._batch_axis)):
            stream = stopping.stream(part.shape[self._batch_axis], device=self.device)
            if samples is None or seed is None:
                _run_until(stream, [self._whole.begin(self._code(part, generator), steps)], None)
            else:
                draw = self._whole.draws(seed, block, steps, part.shape[self._batch_axis])
                _run_until(stream, *self._begin_samples(part, samples, draw))
            found.append(stream.result())
            if progress:
                progress(sum(len(stopped.steps) for stopped in found))
        return Stopped(*map(torch.cat, zip(*found, strict=True)))

    def _begin_samples(self, images: Tensor, samples: int, draw: Draw) -> tuple[list[Any], Any]:
        """The samples of a block at rest, one or more in each item, and the layers before the first random one."""
        first, rest = self._random_part()
        inputs = None if self._program.random_input else self._code(images, None)
        before = self._runner(self._program.layers[:first]).begin(inputs, draw.steps) if first else None
        shared = inputs if before is None else before.written
        runner = self._runner(rest)
        if self._differs(rest):
            runners = [self._own(images, shared, runner, draw, sample) for sample in range(samples)]
            return [own.begin(inputs, draw.steps, [mask]) for own, inputs, mask in runners], before
        masks = parallel_map(lambda sample: runner.masks(draw, sample), range(samples))
        return [runner.begin(shared, draw.steps, masks)], before

    def _blocks(
        self,
        images: Tensor,
        samples: int,
        generator: Generator,
        mean: bool,
        batch_size: int,
        memory_limit: int,
        every: int,
        progress: Callable[[int], object] | None,
    ) -> Iterator[Iterator[Tensor]]:
        """For each block of images, the outputs of its samples, at most `every` at once."""
        check_positive("batch_size", batch_size, integer=True)
        check_positive("memory_limit", memory_limit)
        seed = self._seed(samples, generator)
        done = 0
        for block, part in enumerate(self._checked(images).split(batch_size, self._batch_axis)):
            draw = self._whole.draws(seed, block, self._steps(part), part.shape[self._batch_axis])
            yield self._sample(part, samples, draw, mean, memory_limit, every)
            done += draw.count
            if progress:
                progress(done)

    def _seed(self, samples: int, generator: Generator | None) -> int:
        """The seed of all draws of a call, if it may have any."""
        check_positive("samples", samples, integer=True)
        if not isinstance(generator, Generator):
            raise InputError(f"generator: expected a torch.Generator; got {describe(generator)}")
        if not self._program.random_input and not any(layer.random for layer in self._program.layers):
            raise InputError("network: expected a stochastic layer, such as a Dropout with p > 0; found none")
        return drawn_seed(generator)

    def _random_part(self) -> tuple[int, list[Layer]]:
        """The layers from the first random one on, and its place; all layers if the input is random."""
        layers = self._program.layers
        first = 0 if self._program.random_input else next(i for i, layer in enumerate(layers) if layer.random)
        return first, [active(layer) for layer in layers[first:]]

    def _differs(self, layers: Sequence[Layer]) -> bool:
        """Whether samples have inputs or weights of their own."""
        return self._program.random_input or any(layer.dropconnect for layer in layers)

    def _sample(
        self, images: Tensor, samples: int, draw: Draw, mean: bool, memory_limit: int, every: int
    ) -> Iterator[Tensor]:
        """Outputs [s, T or 1, N, C] of the samples of one block of images; some end at each multiple of `every`."""
        first, rest = self._random_part()
        shared = None if self._program.random_input else self._until(first, images)
        runner = self._runner(rest)
        if self._differs(rest):
            together = 8 if self.backend == "compiled" else 1  # as many as threads, or a few more, side by side
            for some in torch.arange(samples).split(together):
                one = partial(self._one_sample, images, shared, runner, draw, mean)
                yield from parallel_map(one, some.tolist())
            return
        together = max(1, int(memory_limit // runner.sample_bytes(draw.count, draw.steps, mean)))
        start = 0
        while start < samples:
            stop = min(start + together, samples, (start // every + 1) * every)
            masks = parallel_map(lambda sample: runner.masks(draw, sample), range(start, stop))
            yield runner.outputs(shared, draw.steps, masks, mean)
            start = stop

    def _one_sample(self, images: Tensor, shared: Any, runner: Any, draw: Draw, mean: bool, sample: int) -> Tensor:
        """Outputs [1, T or 1, N, C] of a sample whose input or weights are its own."""
        own, inputs, masks = self._own(images, shared, runner, draw, sample)
        return own.outputs(inputs, draw.steps, [masks], mean)

    def _own(self, images: Tensor, shared: Any, runner: Any, draw: Draw, sample: int) -> tuple[Any, ...]:
        """Of such a sample, `runner` with its weights, its input and its masks."""
        if self._program.random_input:
            shared = self._code(images, seeded(draw.spike_seed(self._program.coding_name, sample), self.device))
        own = runner.with_weights([draw.weights(layer, sample) for layer in runner.layers])
        return own, shared, own.masks(draw, sample)

    def _until(self, first: int, images: Tensor) -> Any:
        """What all samples share: the spikes before the first random layer, or the coded input."""
        inputs = self._code(images, None)
        return self._runner(self._program.layers[:first]).spikes(inputs, self._steps(images)) if first else inputs

    def _runner(self, layers: Sequence[Layer]) -> Any:
        if self.backend == "reference":
            return Reference(layers)
        from tsnn_uq.fast.engine.compiled import Compiled  # numba is slow to import, and may not be there

        return Compiled(layers)

    @property
    def _batch_axis(self) -> int:
        """The axis of images [N, ...], or of currents [T, N, ...], that counts inputs."""
        return 0 if self._program.coding else 1

    def _steps(self, images: Tensor) -> int:
        return self.steps or len(images)

    def _code(self, images: Tensor, generator: Generator | None) -> Tensor:
        """Input over time, channels last: [T or 1, N, height, width, channels]."""
        coding, window = self._program.coding, self._program.layers[0].window
        if self._program.random_input and generator is None:
            raise InputError("generator: expected a torch.Generator, from which the rate coding draws spikes; got None")
        images = self._checked(images).float()
        # The usual case, and one row and column, in few calls of torch, which count for a single image.
        if coding is not None and coding.kind == "constant":
            inputs, leading = images if coding.gain == 1 else coding.gain * images, (1, len(images))
        else:
            inputs = images if coding is None else coding.code(images, () if generator is None else (generator,))
            inputs = inputs[:1] if is_constant_over_time(inputs) else inputs
            leading = inputs.shape[0], inputs.shape[1]
        if window.height == window.width == 1:
            return inputs.reshape(*leading, 1, 1, window.channels)
        return inputs.reshape(*leading, *window.size).movedim(2, -1)

    def _checked(self, images: Tensor) -> Tensor:
        axes, shape = self._batch_axis + 1, self._shape
        pixels, leading = math.prod(shape), "N" if self._program.coding else "T, N"
        fits = isinstance(images, Tensor) and images.dim() > axes and math.prod(images.shape[axes:]) == pixels
        if not fits or not images.numel():
            wanted = f"shape [{leading}, ...] with {pixels} values each"
            raise InputError(f"images: expected {wanted}; got {describe(images)}")
        if self._program.layers[0].window.size[1:] != (1, 1) and images.shape[axes:] != shape:
            wanted = f"shape [{leading}, {', '.join(map(str, shape))}], as input_shape says"
            raise InputError(f"images: expected {wanted}; got {describe(images)}")
        if images.device != self.device:
            raise InputError(f"images: expected them on {self.device}, where the network is; got {images.device}")
        return images.detach()

    def _best_backend(self) -> str:
        most = max(layer.window.inputs * layer.window.pool**2 for layer in self._program.layers)
        can = compiler_for(self.device) == "numba" and most <= MOST_INPUTS and have_kernels(self._program.layers)
        return "compiled" if can else "reference"


def _run_until(stream: Stream, samples: Sequence[Any], before: Any) -> None:
    """Run samples step by step until all inputs of a stream have stopped; `before` are layers that they share."""
    total = torch.zeros((), dtype=torch.float64)  # in the precision in which `logits_over_time` adds up
    while len(stream.running):
        running, step = stream.running, stream.step
        if before is not None:
            before.spikes(running, step)
        outputs = torch.cat(parallel_map(methodcaller("outputs", running, step), samples))  # [S, n, C]
        total = total + outputs
        probs = (total.to(outputs.dtype) / total.new_tensor(step + 1, dtype=outputs.dtype)).softmax(-1)
        stopped = stream.update(probs if len(probs) > 1 else probs[0], validate=False)
        if stopped.any():
            total = total[:, ~stopped]


def _probabilities(outputs: Tensor, per_step: bool = False) -> Tensor:
    """Probabilities [S, N, C] of means over time [S, 1, N, C]; `per_step`, [S, T, N, C] of outputs [S, T, N, C]."""
    read = logits_over_time if per_step else logits
    return torch.stack([read(one) for one in outputs]).softmax(-1)
