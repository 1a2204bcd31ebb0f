"""Stochastic forward passes over blocks of inputs, shared by `mc_predict` and `mc_moments`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, describe
from tsnn_uq.constant_input import is_constant, repeat_over_time, single_step
from tsnn_uq.readout import logits
from tsnn_uq.seeds import global_seed
from tsnn_uq.uncertainty.deterministic_prefix import split_deterministic_prefix
from tsnn_uq.uncertainty.dropconnect import DropConnectLinear
from tsnn_uq.uncertainty.ensemble_members import Member
from tsnn_uq.uncertainty.find_randomness import Randomness
from tsnn_uq.uncertainty.mask_timing import set_mask_timing
from tsnn_uq.uncertainty.random_draws import own_generators
from tsnn_uq.uncertainty.random_sources import RandomSources
from tsnn_uq.uncertainty.sampling_options import Sampling
from tsnn_uq.uncertainty.stochastic_mode import only_stochastic_layers_train

__all__ = ["Passes", "random_passes"]


@contextmanager
def random_passes(member: Member, example: Tensor) -> Iterator[Callable[[int, Tensor], Passes]]:
    """Context in which the random layers of a network are active; the network is restored on leaving.

    Args:
        member: a network, what is random in it, and how samples are drawn.
        example: some of its inputs.

    Yields:
        A function from the number and the inputs of a block to its passes, to be run before those of the next block.

    Raises:
        InputError: see `tsnn_uq.uncertainty.mc_predict`.
    """
    model, sampling, randomness = member.network, member.sampling, member.randomness
    batch_dim = sampling.batch_dim
    with only_stochastic_layers_train(model, required=False) as layers:
        for name in randomness.layers:
            layers[name] = model.get_submodule(name)
            layers[name].training = True
        rested = partial(sampling.reset, model)
        stepped = set_mask_timing(model, layers, sampling.mask, example, batch_dim, rested)
        sources = RandomSources(member.seed, layers, randomness.noisy, stepped, own_generators(model), example.device)

        @cache
        def parts(single: bool) -> tuple[nn.Module, nn.Module, int]:
            if not randomness.foldable:
                return nn.Identity(), model, batch_dim
            return split_deterministic_prefix(
                model, {*layers, *randomness.noisy}, example, batch_dim, rested, single=single
            )

        def passes(block: int, inputs: Tensor) -> Passes:
            count = inputs.shape[batch_dim]
            before, after, axis = parts(count == 1)
            rested()
            with global_seed(member.seed, inputs.device):
                shared = before(_repeat(inputs, 1, batch_dim, keep_constant=not randomness.writes))
            return Passes(after, shared, axis, count, block, sampling, randomness, rested, sources)

        yield passes


@dataclass(frozen=True)
class Passes:
    """The random passes over one block of inputs.

    Attributes:
        model: what runs for each sample: the model, or its part from the first random layer on.
        inputs: its inputs for the block.
        batch_dim: the axis of `inputs` that counts inputs.
        count: inputs in the block.
        block: number of the block.
        sampling: how samples are drawn.
        randomness: what is random in the whole model.
        reset: resets hidden state.
        sources: the random generators of the whole model.
    """

    model: nn.Module
    inputs: Tensor
    batch_dim: int
    count: int
    block: int
    sampling: Sampling
    randomness: Randomness
    reset: Callable[[], object]
    sources: RandomSources

    def probabilities(self, every: int, read: Callable[[Tensor], Tensor] = logits) -> Iterator[Tensor]:
        """Probabilities of all samples in order, one pass at a time.

        Args:
            every: a pass ends at each multiple of this many samples, or earlier if the memory limit requires it.
            read: converts outputs to logits, [N, C] or [T, N, C].

        Yields:
            Probabilities [s, N, C] or [s, T, N, C], of s samples.

        Raises:
            InputError: the outputs cannot be read as logits, or are not finite.
        """
        for outputs in self._run(every):
            probs = torch.stack([read(sample).softmax(-1) for sample in outputs])
            undefined = probs.isnan().transpose(0, -2).flatten(1).any(1)  # [N]
            if undefined.any():
                raise InputError(
                    f"model: expected finite outputs; got NaN or infinity for {int(undefined.sum())} of "
                    f"{self.count} inputs (are the inputs finite?)"
                )
            yield probs

    def _run(self, every: int) -> Iterator[list[Tensor]]:
        """Outputs [T, N, C] or [N, C] of each sample; the first pass runs one sample to measure its memory."""
        with _LargestTensor(self.model, self.count) as largest:
            first = self._fold(0, 1)
        yield first
        # An activation, its input, its mask and one temporary are alive together.
        together = max(1, int(self.sampling.memory_limit // max(4 * largest.bytes, 1)))
        if not self.randomness.foldable or self.sources.dropped_weights:
            together = 1  # a layer has only one weight in a pass
        start = 1
        while start < self.sampling.count:
            stop = min(start + together, self.sampling.count, (start // every + 1) * every)
            yield self._fold(start, stop - start)
            start = stop

    def _fold(self, start: int, samples: int) -> list[Tensor]:
        """Run samples `start` .. `start + samples - 1` as one batch."""
        self.reset()
        with self.sources.drawing(self.block, range(start, start + samples)):
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


def _found(outputs: object) -> str:
    """Describe what a model returned instead of outputs, with a remedy."""
    if isinstance(outputs, Tensor):
        return f"{describe(outputs)}; give an output= that turns it into such, or another batch_dim="
    several = f" of {len(outputs)}" if isinstance(outputs, tuple | list) else ""
    return f"a {type(outputs).__name__}{several}; say what to take, such as output=lambda returned: returned[0]"


def _repeat(inputs: Tensor, samples: int, batch_dim: int, *, keep_constant: bool = True) -> Tensor:
    """Repeat `inputs` `samples` times along the batch axis; input that is constant over time stays a view."""
    if keep_constant and batch_dim == 1 and is_constant(inputs):
        return repeat_over_time(_repeat(single_step(inputs), samples, 0), len(inputs))
    return torch.cat([inputs] * samples, dim=batch_dim)


class _LargestTensor:
    """Context that records the bytes of the largest tensor that a module returns or draws as a weight mask."""

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
