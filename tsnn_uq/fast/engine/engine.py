"""Ternary inference: run a trained network by integer sums over active inputs, with or without random masks."""

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
MAX_INPUTS = 2**15 - 1  # of one output in the compiled backend, whose counters of two bytes count up to twice that


class Engine:
    """Run a trained spiking network with two-bit ternary weights, without multiplications by weights.

    The current into a neuron is the integer sum of the weights of the inputs that spiked, times a scale. Silent inputs
    cost nothing. BatchNorm is folded into scale and bias. Layers with float weights run as float sums.

    There are two backends: compiled kernels (numba, CPU only) and a reference (PyTorch, any device). Their results are
    equal bit for bit if all sums are integers. Networks with leaky integrators, grouped convolutions, overlapping
    pooling, or layers without spikes in between run in the reference only. The outputs of the network itself differ
    by the rounding of its float sums: with n active inputs by at most n 2**-23 times the sum of the magnitudes of their
    weights. This can change a spike if the potential is at the threshold.

    Args:
        network: a trained network of layers from `tsnn_uq.networks` and `tsnn_uq.neurons`, for example from
            `tsnn_uq.exchange.from_nir`, or a Sequential of snnTorch or SpikingJelly layers; see
            `tsnn_uq.fast.engine.translate` for the supported layers. The network is copied, so later changes to it
            have no effect. A network that does not begin with a `Coding` takes currents over time [T, N, ...] in place
            of images.
        input_shape: shape of an input, such as (1, 28, 28), for networks with convolutions or pooling.
        backend: ``"compiled"`` or ``"reference"``; by default ``"compiled"`` if it can run the network.

    Attributes:
        backend: the backend in use.
        device: device of the network.
        steps: time steps T; None for a network that takes currents over time.

    Raises:
        InputError: the network has an unsupported module, or the backend cannot run it.

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
            where = f"the compiled one needs numba, a CPU, {layers} and at most {MAX_INPUTS:,} inputs of a neuron"
            raise InputError(f"backend: expected 'reference' here, since {where}; got 'compiled'")
        self._runner_of_all = self._runner(self._program.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the stored weights; rows of ternary weights are padded to whole 32-bit words.

        The compiled backend makes another copy, of one byte per weight, of ternary layers with at most 128 outputs.
        """
        return sum(layer.weight_bytes for layer in self._program.layers)

    def __call__(self, images: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Compute outputs [T, N, C] of images [N, ...] without masks; `generator` is only for a rate coding."""
        return self._runner_of_all.outputs(self._encode(images, generator), self._steps(images))[0]

    def logits(self, images: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Compute logits [N, C], the mean of the outputs over time."""
        outputs: Tensor = self._runner_of_all.outputs(self._encode(images, generator), self._steps(images), mean=True)
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
        """Draw S Monte Carlo samples, with the same masks as `tsnn_uq.uncertainty.mc_predict` of the network.

        Dropout removes spikes and dropconnect removes weights. Layers before the first random one run once.

        Args:
            images: [N, ...].
            samples: S, the number of samples.
            generator: source of the randomness; it advances by one draw.
            per_step: return the prediction after each time step.
            batch_size: images in a block; the masks depend on it, as in `tsnn_uq.uncertainty.mc_predict`.
            memory_limit: approximate limit in bytes for the masks and outputs of one pass.
            progress: called with the number of images done after each block.

        Returns:
            Probabilities [S, N, C], or [S, T, N, C] with `per_step`.

        Raises:
            InputError: the network has no random layer, or the images have the wrong shape or device.
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
        """Compute statistics of the samples of `mc_predict`, in memory that does not grow with their number.

        See `mc_predict` for the arguments, and `tsnn_uq.uncertainty.mc_moments` for `tolerance` and the result.
        """
        group = samples_at_once(tolerance)
        blocks = self._blocks(images, samples, generator, True, batch_size, memory_limit, group, progress)
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
        """Run each image until a stopping rule stops it.

        After each time step the rule gets the predictions so far, the softmax of the mean output. Images that have
        stopped are not computed any further. The result is that of the rule for the predictions of all steps,
        ``logits_over_time(engine(images)).softmax(-1)``, or with Monte Carlo samples ``engine.mc_predict(...,
        per_step=True)`` with the same generator. The two are equal bit for bit with the compiled backend, and with the
        reference if all sums are integers. Potentials take 4 bytes for each neuron, image of a block and sample.

        Args:
            stopping: a rule fitted on T-step predictions of this network; see `tsnn_uq.stopping`.
            images: [N, ...].
            samples: number S of Monte Carlo samples, whose mean decides; by default the number that the rule was
                fitted on, if any.
            generator: source of the randomness, if anything is random; it advances by one draw.
            batch_size: images in a block; the masks depend on it.
            progress: called with the number of images done after each block.

        Returns:
            `tsnn_uq.stopping.Stopped`: steps used from 1 to T, decisions and sets.

        Raises:
            InputError: the rule is not fitted or fitted on another number of steps; also as in `mc_predict`.
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
                _run_until(stream, [self._runner_of_all.begin(self._encode(part, generator), steps)], None)
            else:
                draw = self._runner_of_all.draws(seed, block, steps, part.shape[self._batch_axis])
                _run_until(stream, *self._begin_samples(part, samples, draw))
            found.append(stream.result())
            if progress:
                progress(sum(len(stopped.steps) for stopped in found))
        return Stopped(*map(torch.cat, zip(*found, strict=True)))

    def _begin_samples(self, images: Tensor, samples: int, draw: Draw) -> tuple[list[Any], Any]:
        """Start stepwise runs of a block: of the samples, one or more per item, and of the layers that they share."""
        first, rest = self._random_part()
        inputs = None if self._program.random_input else self._encode(images, None)
        before = self._runner(self._program.layers[:first]).begin(inputs, draw.steps) if first else None
        shared = inputs if before is None else before.written
        runner = self._runner(rest)
        if self._samples_differ(rest):
            runners = [self._sample_runner(images, shared, runner, draw, sample) for sample in range(samples)]
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
        group: int,
        progress: Callable[[int], object] | None,
    ) -> Iterator[Iterator[Tensor]]:
        """Yield for each block of images an iterator over the outputs of its samples, at most `group` at a time."""
        check_positive("batch_size", batch_size, integer=True)
        check_positive("memory_limit", memory_limit)
        seed = self._seed(samples, generator)
        done = 0
        for block, part in enumerate(self._checked(images).split(batch_size, self._batch_axis)):
            draw = self._runner_of_all.draws(seed, block, self._steps(part), part.shape[self._batch_axis])
            yield self._sample_outputs(part, samples, draw, mean, memory_limit, group)
            done += draw.count
            if progress:
                progress(done)

    def _seed(self, samples: int, generator: Generator | None) -> int:
        """Draw the seed of a call, after checking that anything is random."""
        check_positive("samples", samples, integer=True)
        if not isinstance(generator, Generator):
            raise InputError(f"generator: expected a torch.Generator; got {describe(generator)}")
        if not self._program.random_input and not any(layer.random for layer in self._program.layers):
            raise InputError("network: expected a stochastic layer, such as a Dropout with p > 0; found none")
        return drawn_seed(generator)

    def _random_part(self) -> tuple[int, list[Layer]]:
        """Index of the first random layer, and the layers from there on; all layers if the input is random."""
        layers = self._program.layers
        first = 0 if self._program.random_input else next(i for i, layer in enumerate(layers) if layer.random)
        return first, [active(layer) for layer in layers[first:]]

    def _samples_differ(self, layers: Sequence[Layer]) -> bool:
        """Whether inputs or weights differ between samples."""
        return self._program.random_input or any(layer.dropconnect for layer in layers)

    def _sample_outputs(
        self, images: Tensor, samples: int, draw: Draw, mean: bool, memory_limit: int, group: int
    ) -> Iterator[Tensor]:
        """Yield outputs [s, T or 1, N, C] of samples of one block; no item crosses a multiple of `group`."""
        first, rest = self._random_part()
        shared = None if self._program.random_input else self._shared_input(first, images)
        runner = self._runner(rest)
        if self._samples_differ(rest):
            together = 8 if self.backend == "compiled" else 1  # about as many as there are threads
            for some in torch.arange(samples).split(together):
                one = partial(self._one_sample, images, shared, runner, draw, mean)
                yield from parallel_map(one, some.tolist())
            return
        together = max(1, int(memory_limit // runner.sample_bytes(draw.count, draw.steps, mean)))
        start = 0
        while start < samples:
            stop = min(start + together, samples, (start // group + 1) * group)
            masks = parallel_map(lambda sample: runner.masks(draw, sample), range(start, stop))
            yield runner.outputs(shared, draw.steps, masks, mean)
            start = stop

    def _one_sample(self, images: Tensor, shared: Any, runner: Any, draw: Draw, mean: bool, sample: int) -> Tensor:
        """Outputs [1, T or 1, N, C] of one sample whose input or weights differ from the others'."""
        own, inputs, masks = self._sample_runner(images, shared, runner, draw, sample)
        return own.outputs(inputs, draw.steps, [masks], mean)

    def _sample_runner(self, images: Tensor, shared: Any, runner: Any, draw: Draw, sample: int) -> tuple[Any, ...]:
        """The runner with the weights of one sample, the sample's input and its masks."""
        if self._program.random_input:
            shared = self._encode(images, seeded(draw.spike_seed(self._program.coding_name, sample), self.device))
        own = runner.with_weights([draw.weights(layer, sample) for layer in runner.layers])
        return own, shared, own.masks(draw, sample)

    def _shared_input(self, first: int, images: Tensor) -> Any:
        """The input shared by all samples: spikes of the layer before the first random one, or the coded input."""
        inputs = self._encode(images, None)
        return self._runner(self._program.layers[:first]).spikes(inputs, self._steps(images)) if first else inputs

    def _runner(self, layers: Sequence[Layer]) -> Any:
        if self.backend == "reference":
            return Reference(layers)
        from tsnn_uq.fast.engine.compiled import Compiled  # numba is slow to import and optional

        return Compiled(layers)

    @property
    def _batch_axis(self) -> int:
        """The batch axis N of images [N, ...] or of currents [T, N, ...]."""
        return 0 if self._program.coding else 1

    def _steps(self, images: Tensor) -> int:
        return self.steps or len(images)

    def _encode(self, images: Tensor, generator: Generator | None) -> Tensor:
        """Encode images over time, with channels last: [T or 1, N, height, width, channels]."""
        coding, window = self._program.coding, self._program.layers[0].window
        if self._program.random_input and generator is None:
            raise InputError("generator: expected a torch.Generator, from which the rate coding draws spikes; got None")
        images = self._checked(images).float()
        # Constant coding and maps of one pixel are the usual case: few calls of torch, for the latency of one image.
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
        can = compiler_for(self.device) == "numba" and most <= MAX_INPUTS and have_kernels(self._program.layers)
        return "compiled" if can else "reference"


def _run_until(stream: Stream, samples: Sequence[Any], before: Any) -> None:
    """Run samples step by step until all inputs of a stream have stopped; `before` runs the layers that they share."""
    total = torch.zeros((), dtype=torch.float64)  # the dtype in which `logits_over_time` accumulates
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
    """Probabilities [S, N, C] from means over time [S, 1, N, C]; with `per_step` [S, T, N, C] from [S, T, N, C]."""
    read = logits_over_time if per_step else logits
    return torch.stack([read(one) for one in outputs]).softmax(-1)
