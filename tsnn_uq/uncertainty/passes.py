"""Random passes over blocks of inputs: what every Monte Carlo prediction of a module shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tsnn_uq.checks import InputError, describe
from tsnn_uq.coding import Coding
from tsnn_uq.held import hold, is_held, one_step
from tsnn_uq.readout import logits
from tsnn_uq.seeds import derive_seed, generator_for, global_seed
from tsnn_uq.uncertainty.arrange import arrange
from tsnn_uq.uncertainty.conversion import DroppedWeight
from tsnn_uq.uncertainty.dropconnect import DropConnectLinear
from tsnn_uq.uncertainty.foreign import StepByStep
from tsnn_uq.uncertainty.masks import StochasticLayer
from tsnn_uq.uncertainty.sampling import Sampling
from tsnn_uq.uncertainty.shared import split
from tsnn_uq.uncertainty.stochastic import only_stochastic_layers_train

__all__ = ["Passes", "random_passes"]


@contextmanager
def random_passes(model: nn.Module, inputs: Tensor, sampling: Sampling) -> Iterator[Iterator[Passes]]:
    """Context in which `model` is random: an iterator over blocks of inputs, each with its passes still to be run.

    A block's passes have to be run before the next block is asked for. It is a context rather than a generator of
    blocks so that the model is restored at once when whoever runs the passes fails.

    Args:
        model: a network.
        inputs: what it takes.
        sampling: how samples are drawn.

    Raises:
        InputError: see `tsnn_uq.uncertainty.mc_predict`.
    """
    seed = sampling.seed()
    with only_stochastic_layers_train(model, required=sampling.random) as layers:
        rested = partial(sampling.reset, model)
        stepped = arrange(model, layers, sampling.mask, inputs, sampling.batch_dim, rested)
        shared, stochastic, axis = split(model, layers, inputs, sampling.batch_dim, rested)

        def blocks() -> Iterator[Passes]:
            done = 0
            for block, part in enumerate(inputs.split(sampling.batch_size, dim=sampling.batch_dim)):
                rested()
                count = part.shape[sampling.batch_dim]
                yield Passes(stochastic, shared(part), axis, count, sampling, rested, layers, stepped, seed, block)
                done += count
                if sampling.progress:
                    sampling.progress(done)

        yield blocks()


@dataclass(frozen=True)
class Passes:
    """The random passes over one block of inputs.

    Attributes:
        model: what is run for each sample: the model, or what of it comes after the first random layer.
        inputs: what it takes, for the inputs of the block.
        batch_dim: the axis of `inputs` that counts inputs.
        count: inputs in the block.
        sampling: how samples are drawn.
        reset: puts hidden state to rest.
        layers: the random layers of the whole model, by name.
        stepped: layers that are called one step at a time, by name.
        seed: seed of all draws of a call.
        block: number of the block.
    """

    model: nn.Module
    inputs: Tensor
    batch_dim: int
    count: int
    sampling: Sampling
    reset: Callable[[], object]
    layers: Mapping[str, nn.Module]
    stepped: Mapping[str, StepByStep]
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
        together = max(1, int(self.sampling.memory_limit // max(4 * largest.bytes, 1)))
        if self._dropped_weights():
            together = 1  # a layer has one weight in a pass
        start = 1
        while start < self.sampling.count:
            stop = min(start + together, self.sampling.count, (start // every + 1) * every)
            yield self._fold(start, stop - start)
            start = stop

    def _fold(self, start: int, samples: int) -> list[Tensor]:
        """Run samples `start` .. `start + samples - 1` as one batch."""
        self._seed_layers(range(start, start + samples))
        self.reset()
        with self._weights_once(), global_seed(derive_seed(self.seed, "global", self.block, start), self.inputs.device):
            outputs = self.model(_repeat(self.inputs, samples, self.batch_dim))
        if self.sampling.output is not None:
            outputs = self.sampling.output(outputs)
        folded = samples * self.count
        if not isinstance(outputs, Tensor) or outputs.dim() not in (2, 3) or outputs.shape[-2] != folded:
            raise InputError(
                f"model: expected outputs of shape [T, {folded}, C] or [{folded}, C] for {samples} samples of "
                f"{self.count} inputs; got {_found(outputs)}"
            )
        return list(outputs.split(self.count, dim=-2))

    def _dropped_weights(self) -> list[DroppedWeight]:
        return [layer for layer in self.layers.values() if isinstance(layer, DroppedWeight)]

    def _weights_once(self) -> AbstractContextManager[None]:
        """Context of a pass in which a ternary weight is computed once for all steps, unless each has its own."""
        per_step = any(layer.mask == "per-step" for layer in self._dropped_weights())
        return nullcontext() if per_step else parametrize.cached()

    def _seed_layers(self, samples: range) -> None:
        device = self.inputs.device
        for name, layer in self.layers.items():
            # A mask on weights belongs to the sample alone; one on units to the sample and these inputs.
            scope = "all" if getattr(layer, "shared_by_inputs", False) else self.block
            if isinstance(layer, StochasticLayer):
                layer.begin([generator_for(self.seed, name, scope, s, device=device) for s in samples])
            elif isinstance(layer, Coding):
                layer.generators = tuple(generator_for(self.seed, name, scope, s, device=device) for s in samples)
        for name, stepped in self.stepped.items():
            stepped.begin(derive_seed(self.seed, name, self.block, samples.start))


def _found(outputs: object) -> str:
    """What a model returned in place of outputs, and what may help."""
    if isinstance(outputs, Tensor):
        return f"{describe(outputs)}; give an output= that turns it into such, or another batch_dim="
    several = f" of {len(outputs)}" if isinstance(outputs, tuple | list) else ""
    return f"a {type(outputs).__name__}{several}; say what to take, such as output=lambda returned: returned[0]"


def _repeat(inputs: Tensor, samples: int, batch_dim: int) -> Tensor:
    """`inputs` `samples` times over along the batch axis; input held over time stays held."""
    if batch_dim == 1 and is_held(inputs):
        return hold(_repeat(one_step(inputs), samples, 0), len(inputs))
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

    def _note(self, module: nn.Module, _: object, output: object) -> None:
        masks = vars(module).get("_memories", {}).values()  # SpikingJelly's, on weights one for each input
        for tensor in (*masks, *(output if isinstance(output, tuple) else (output,))):
            if isinstance(tensor, Tensor):
                self.bytes = max(self.bytes, tensor.nbytes)
        if isinstance(module, DropConnectLinear):
            inputs = 1 if module.shared_by_inputs else self.count
            self.bytes = max(self.bytes, inputs * module.weight.nbytes)
