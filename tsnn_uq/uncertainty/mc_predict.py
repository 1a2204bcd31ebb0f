"""Monte Carlo prediction: S draws of a stochastic network, folded into the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tsnn_uq.checks import InputError, check_positive, describe
from tsnn_uq.coding import Coding, is_constant_over_time
from tsnn_uq.readout import logits, logits_over_time
from tsnn_uq.seeds import derive_seed, generator_for, global_seed
from tsnn_uq.uncertainty.dropconnect import DropConnectLinear
from tsnn_uq.uncertainty.foreign import rest
from tsnn_uq.uncertainty.masks import StochasticLayer
from tsnn_uq.uncertainty.stochastic import only_stochastic_layers_train

__all__ = ["mc_predict"]

Readout = Callable[[Any], Tensor]


@torch.no_grad()
def mc_predict(
    model: nn.Module,
    inputs: Tensor,
    *,
    samples: int = 32,
    generator: torch.Generator,
    per_step: bool = False,
    batch_dim: int = 0,
    batch_size: int = 256,
    memory_limit: int = 256 * 2**20,
    readout: Readout | None = None,
    reset: Callable[[nn.Module], object] = rest,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Predict with S random draws of a network's stochastic layers (Gal and Ghahramani, 2016).

    Only the stochastic layers are random; BatchNorm stays in evaluation mode, and the model is left exactly
    as it was: mode, hidden state, generators. The samples of a block of inputs are folded into the batch, as
    many at once as the memory limit allows, and layers before the first stochastic one run once for all of
    them (in an ``nn.Sequential``). Masks depend on the generator, the input's block and the sample alone, so
    neither the memory limit nor the number of threads changes the draw. A dropconnect mask is one network:
    sample s uses the same masks for every input. Layers of other libraries draw from torch's global generator,
    which is seeded for each pass and put back; for them the memory limit is part of the seed.

    Args:
        model: a network with stochastic layers, ours or not, that returns outputs over time [T, N, C], whose
            running mean is the logits, or logits [N, C].
        inputs: what the model takes, N inputs along `batch_dim`.
        samples: S, the number of draws.
        generator: where the randomness comes from; it advances by one draw.
        per_step: return the prediction after each time step.
        batch_dim: the axis of `inputs` that counts inputs: 0, or 1 for input with time first.
        batch_size: inputs in a block.
        memory_limit: bytes that the activations and masks of one pass may take, roughly.
        readout: from what the model returns to outputs [T, N, C] or [N, C], where it returns something else.
        reset: puts `model`'s hidden state to rest before each pass; does so for snnTorch and SpikingJelly.
        progress: called with the number of inputs done after each block.

    Returns:
        Probabilities [S, N, C], or [S, T, N, C] with `per_step`.

    Raises:
        InputError: nothing in the model is random, there are no inputs, or the outputs have another shape.
    """
    check_positive("samples", samples, integer=True)
    check_positive("batch_size", batch_size, integer=True)
    check_positive("memory_limit", memory_limit)
    if not isinstance(generator, torch.Generator):
        raise InputError(f"generator: expected a torch.Generator; got {describe(generator)}")
    if not isinstance(inputs, Tensor) or not 0 <= batch_dim < inputs.dim() or inputs.shape[batch_dim] == 0:
        raise InputError(f"inputs: expected at least one input along axis {batch_dim}; got {describe(inputs)}")
    seed = int(torch.randint(2**62, (), generator=generator))
    read = logits_over_time if per_step else logits
    predictions, done = [], 0
    with only_stochastic_layers_train(model) as layers:
        rested = partial(reset, model)
        shared, stochastic, axis = _split(model, layers, inputs, batch_dim, rested)
        for block, part in enumerate(inputs.split(batch_size, dim=batch_dim)):
            rested()
            passes = _Passes(stochastic, shared(part), axis, readout, rested, layers, seed, block)
            outputs = passes.run(samples, memory_limit, part.shape[batch_dim])
            predictions.append(torch.stack([read(sample).softmax(-1) for sample in outputs]))
            done += part.shape[batch_dim]
            if progress:
                progress(done)
    return torch.cat(predictions, dim=-2)


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


@dataclass
class _Passes:
    """The random passes over one block of inputs."""

    model: nn.Module
    inputs: Tensor
    batch_dim: int
    readout: Readout | None
    reset: Callable[[], object]
    layers: Mapping[str, nn.Module]
    seed: int
    block: int

    def run(self, samples: int, memory_limit: int, count: int) -> list[Tensor]:
        """Outputs [T, N, C] or [N, C] of each sample; the first pass alone tells how much memory one takes."""
        with _LargestTensor(self.model, count) as largest:
            outputs = self._fold(0, 1, count)
        # An activation, its input, its mask and one temporary are alive together.
        together = max(1, int(memory_limit // max(4 * largest.bytes, 1)))
        for start in range(1, samples, together):
            outputs += self._fold(start, min(together, samples - start), count)
        return outputs

    def _fold(self, start: int, samples: int, count: int) -> list[Tensor]:
        """Run samples `start` .. `start + samples - 1` as one batch."""
        self._seed_layers(range(start, start + samples))
        self.reset()
        with global_seed(derive_seed(self.seed, "global", self.block, start), self.inputs.device):
            outputs = self.model(_repeat(self.inputs, samples, self.batch_dim))
        if self.readout is not None:
            outputs = self.readout(outputs)
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
