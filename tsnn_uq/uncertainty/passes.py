"""Random passes over blocks of inputs: what every Monte Carlo prediction of a module shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_positive, describe
from tsnn_uq.coding import Coding, is_constant_over_time
from tsnn_uq.readout import logits
from tsnn_uq.seeds import derive_seed, generator_for, global_seed
from tsnn_uq.uncertainty.dropconnect import DropConnectLinear
from tsnn_uq.uncertainty.masks import StochasticLayer
from tsnn_uq.uncertainty.stochastic import only_stochastic_layers_train

__all__ = ["Passes", "Readout", "random_passes"]

Readout = Callable[[Any], Tensor]


@contextmanager
def random_passes(
    model: nn.Module,
    inputs: Tensor,
    *,
    samples: int,
    generator: torch.Generator,
    batch_dim: int,
    batch_size: int,
    memory_limit: int,
    readout: Readout | None,
    reset: Callable[[nn.Module], object],
    progress: Callable[[int], object] | None,
) -> Iterator[Iterator[Passes]]:
    """Context in which `model` is random: an iterator over blocks of inputs, each with its passes still to be run.

    Arguments and errors are those of `tsnn_uq.uncertainty.mc_predict`. A block's passes have to be run before the
    next block is asked for. It is a context rather than a generator of blocks so that the model is restored at once
    when whoever runs the passes fails.
    """
    _check(inputs, batch_dim, samples, batch_size, memory_limit, generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    with only_stochastic_layers_train(model) as layers:
        rested = partial(reset, model)
        shared, stochastic, axis = _split(model, layers, inputs, batch_dim, rested)

        def blocks() -> Iterator[Passes]:
            done = 0
            for block, part in enumerate(inputs.split(batch_size, dim=batch_dim)):
                rested()
                yield Passes(
                    model=stochastic,
                    inputs=shared(part),
                    batch_dim=axis,
                    count=part.shape[batch_dim],
                    samples=samples,
                    memory_limit=memory_limit,
                    readout=readout,
                    reset=rested,
                    layers=layers,
                    seed=seed,
                    block=block,
                )
                done += part.shape[batch_dim]
                if progress:
                    progress(done)

        yield blocks()


def _check(
    inputs: Tensor, batch_dim: int, samples: int, batch_size: int, memory_limit: int, generator: torch.Generator
) -> None:
    check_positive("samples", samples, integer=True)
    check_positive("batch_size", batch_size, integer=True)
    check_positive("memory_limit", memory_limit)
    if not isinstance(generator, torch.Generator):
        raise InputError(f"generator: expected a torch.Generator; got {describe(generator)}")
    if not isinstance(inputs, Tensor) or not 0 <= batch_dim < inputs.dim() or inputs.shape[batch_dim] == 0:
        raise InputError(f"inputs: expected at least one input along axis {batch_dim}; got {describe(inputs)}")


def _split(
    model: nn.Module, layers: Mapping[str, nn.Module], inputs: Tensor, batch_dim: int, reset: Callable[[], object]
) -> tuple[nn.Module, nn.Module, int]:
    """Split a Sequential before its first stochastic child; the last value is the batch axis in between."""
    whole = nn.Identity(), model, batch_dim
    if type(model) is not nn.Sequential:
        return whole
    names = list(model._modules)
    first = min(names.index(name.split(".")[0]) for name in layers)
    if first == 0:
        return whole
    axis = _batch_axis(model[:first], inputs.narrow(batch_dim, 0, 1), batch_dim, reset)
    return whole if axis is None else (model[:first], model[first:], axis)


def _batch_axis(before: nn.Module, one: Tensor, batch_dim: int, reset: Callable[[], object]) -> int | None:
    """The axis that counts inputs in what `before` returns: the only one that grows, from 1 to 2, with them."""
    shapes: list[list[int]] = []
    for inputs in (one, torch.cat([one, one], batch_dim)):
        reset()
        output = before(inputs)
        shapes.append(list(output.shape) if isinstance(output, Tensor) else [])
    single, double = shapes
    for axis, size in enumerate(single):
        if size == 1 and [*single[:axis], 2, *single[axis + 1 :]] == double:
            return axis
    return None


@dataclass(frozen=True)
class Passes:
    """The random passes over one block of inputs.

    Attributes:
        model: what is run for each sample: the model, or what of it comes after the first random layer.
        inputs: what it takes, for the inputs of the block.
        batch_dim: the axis of `inputs` that counts inputs.
        count: inputs in the block.
        samples: S.
        memory_limit: bytes that the activations and masks of one pass may take, roughly.
        readout: from what the model returns to outputs [T, N, C] or [N, C].
        reset: puts hidden state to rest.
        layers: the random layers of the whole model, by name.
        seed: seed of all draws of a call.
        block: number of the block.
    """

    model: nn.Module
    inputs: Tensor
    batch_dim: int
    count: int
    samples: int
    memory_limit: int
    readout: Readout | None
    reset: Callable[[], object]
    layers: Mapping[str, nn.Module]
    seed: int
    block: int

    @property
    def drawn_sample_by_sample(self) -> bool:
        """Whether a sample's draw is the same in whatever pass it is run: not with layers of other libraries."""
        return all(isinstance(layer, StochasticLayer | Coding) for layer in self.layers.values())

    def probabilities(self, every: int, read: Callable[[Tensor], Tensor] = logits) -> Iterator[Tensor]:
        """Probabilities of all samples in order, those of a pass at a time.

        Args:
            every: a pass ends at each multiple of this many samples, if not before for want of memory.
            read: from outputs to logits, [N, C] or [T, N, C].

        Yields:
            Probabilities [s, N, C] or [s, T, N, C], of s samples.
        """
        for outputs in self._run(every):
            yield torch.stack([read(sample).softmax(-1) for sample in outputs])

    def _run(self, every: int) -> Iterator[list[Tensor]]:
        """Outputs [T, N, C] or [N, C] of each sample; the first pass alone tells how much memory one takes."""
        with _LargestTensor(self.model, self.count) as largest:
            first = self._fold(0, 1)
        yield first
        # An activation, its input, its mask and one temporary are alive together.
        together = max(1, int(self.memory_limit // max(4 * largest.bytes, 1)))
        start = 1
        while start < self.samples:
            stop = min(start + together, self.samples, (start // every + 1) * every)
            yield self._fold(start, stop - start)
            start = stop

    def _fold(self, start: int, samples: int) -> list[Tensor]:
        """Run samples `start` .. `start + samples - 1` as one batch."""
        self._seed_layers(range(start, start + samples))
        self.reset()
        with global_seed(derive_seed(self.seed, "global", self.block, start), self.inputs.device):
            outputs = self.model(_repeat(self.inputs, samples, self.batch_dim))
        if self.readout is not None:
            outputs = self.readout(outputs)
        count = self.count
        if not isinstance(outputs, Tensor) or outputs.dim() not in (2, 3) or outputs.shape[-2] != samples * count:
            got = describe(outputs) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
            raise InputError(
                f"model: expected outputs of shape [T, {samples * count}, C] or [{samples * count}, C] for "
                f"{samples} samples of {count} inputs; got {got}; give a readout= or batch_dim="
            )
        return list(outputs.split(count, dim=-2))

    def _seed_layers(self, samples: range) -> None:
        device = self.inputs.device
        for name, layer in self.layers.items():
            # A mask on weights belongs to the sample alone; one on units to the sample and these inputs.
            scope = "all" if getattr(layer, "shared_by_inputs", False) else self.block
            if isinstance(layer, StochasticLayer | Coding):
                layer.generators = tuple(generator_for(self.seed, name, scope, s, device=device) for s in samples)


def _repeat(inputs: Tensor, samples: int, batch_dim: int) -> Tensor:
    """`inputs` `samples` times over along the batch axis; input held over time stays held."""
    if batch_dim == 1 and is_constant_over_time(inputs):
        return _repeat(inputs[0], samples, 0).expand(len(inputs), *[-1] * (inputs.dim() - 1))
    return torch.cat([inputs] * samples, dim=batch_dim) if samples > 1 else inputs


class _LargestTensor:
    """Context that notes the bytes of the largest tensor a module returns, or draws as a mask on its weights."""

    def __init__(self, model: nn.Module, count: int) -> None:
        self.model, self.count, self.bytes = model, count, 0

    def __enter__(self) -> _LargestTensor:
        self.handles = [module.register_forward_hook(self._note) for module in self.model.modules()]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _note(self, module: nn.Module, inputs: object, output: object) -> None:
        for tensor in output if isinstance(output, tuple) else (output,):
            if isinstance(tensor, Tensor):
                self.bytes = max(self.bytes, tensor.nbytes)
        if isinstance(module, DropConnectLinear):
            masks = 1 if module.shared_by_inputs else self.count
            self.bytes = max(self.bytes, masks * module.weight.nbytes)
