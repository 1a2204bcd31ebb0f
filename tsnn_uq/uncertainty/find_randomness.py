"""Run a network on a few inputs to find what is random in it, and whether samples can be folded into the batch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.seeds import global_seed
from tsnn_uq.uncertainty.library_layers import may_apply_dropout, one_draw_per_element
from tsnn_uq.uncertainty.random_draws import DrawMonitor
from tsnn_uq.uncertainty.sampling_options import Sampling
from tsnn_uq.uncertainty.stochastic_layer import StochasticLayer, set_generator
from tsnn_uq.uncertainty.stochastic_mode import only_stochastic_layers_train

__all__ = ["Randomness", "find_randomness"]

COUNTS = (2, 3)  # inputs in the two trial runs; whatever belongs to one input grows with them


@dataclass(frozen=True)
class Randomness:
    """What is random in a network; true if anything is.

    Attributes:
        layers: names of modules that are random in training mode.
        noisy: names of other modules that draw random numbers in evaluation mode, such as encoders.
        by_sample: whether a sample's draw does not depend on the pass it runs in; true if all random layers are ours.
        foldable: whether samples may be folded into the batch: inputs neither share draws nor affect each other.
        writes: whether the network modifies its inputs.
    """

    layers: tuple[str, ...]
    noisy: tuple[str, ...]
    by_sample: bool
    foldable: bool
    writes: bool

    def __bool__(self) -> bool:
        return bool(self.layers or self.noisy)


@torch.no_grad()
def find_randomness(model: nn.Module, inputs: Tensor, sampling: Sampling) -> Randomness:
    """Run a network on two and on three inputs in evaluation mode, and monitor it closely if that is inconclusive.

    This also finds dropout that is not a layer: a function called in a module's ``forward``, or a probability that a
    module keeps, such as ``drop_prob``. Such dropout is switched on by the training mode of its module.

    Args:
        model: a network.
        inputs: its inputs.
        sampling: the layout of inputs and outputs, and how hidden state is reset.

    Raises:
        InputError: training mode does not switch a dropout on, or changes more than the dropout.
    """
    with only_stochastic_layers_train(model, required=False) as layers:
        set_generator(model, torch.Generator(device=inputs.device).manual_seed(0))
        ours = {name for name, layer in layers.items() if isinstance(layer, StochasticLayer | Coding)}
        unclear = [name for name, layer in layers.items() if name not in ours and not one_draw_per_element(layer)]
        others = {name: module for name, module in model.named_modules() if name not in layers}
        suspects = {name: module for name, module in others.items() if may_apply_dropout(module)}
        for layer in layers.values():
            layer.training = False
        plain = still = training = _Trial(model, inputs, sampling, closely=False)
        if plain.more.drew or suspects:
            still = _Trial(model, inputs, sampling, closely=True)
            suspects |= {name: others[name] for name in still.more.skipped if name in others}
        if plain.more.drew or suspects or unclear:
            for module in (*layers.values(), *suspects.values()):
                module.training = True
            # In training mode a model may return something else, so its outputs are not read.
            training = _Trial(model, inputs, replace(sampling, output=None), closely=True)

    switched = tuple(name for name, module in suspects.items() if _is_switched(name, module, still.more, training.more))
    noisy = tuple(name for name in still.more.draws if name not in layers)
    works_in_place = any(getattr(layer, "inplace", False) for layer in layers.values())
    return Randomness(
        layers=(*layers, *switched),
        noisy=noisy,
        by_sample=not switched and not noisy and ours == set(layers),
        foldable=plain.grows(ours) and training.grows(ours) and (bool(noisy) or not plain.coupled),
        writes=works_in_place or plain.more.wrote or training.more.wrote,
    )


def _is_switched(name: str, module: nn.Module, still: _Run, training: _Run) -> bool:
    """Whether training mode switches on the dropout inside a module, all of it and nothing else."""
    switched = name in still.skipped or training.draws[name] > still.draws[name]
    problem = "stays off in training mode" if name in training.skipped else None
    if switched and name in training.batch_statistics:
        problem = "uses batch statistics in training mode"
    if problem:
        raise InputError(
            f"model: expected dropout that training mode alone switches on; that of {name!r} "
            f"({type(module).__name__}) {problem} (make it an nn.Dropout)"
        )
    return switched


class _Trial:
    """Two runs of a network, on a few inputs and on one more."""

    def __init__(self, model: nn.Module, inputs: Tensor, sampling: Sampling, *, closely: bool) -> None:
        try:
            self.few, self.more = (_Run(model, inputs, count, sampling, closely=closely) for count in COUNTS)
        except Exception:  # it may need a fixed number of inputs; any other error is raised again here
            block = min(sampling.batch_size, inputs.shape[sampling.batch_dim])
            self.few = self.more = _Run(model, inputs, block, sampling, closely=closely)

    def grows(self, exempt: Collection[str]) -> bool:
        """Whether every module, except the `exempt`, draws in proportion to the number of inputs."""
        if self.few is self.more:
            return False
        names = set(self.few.draws | self.more.draws).difference(exempt)
        return all(self.few.draws[name] * COUNTS[1] == self.more.draws[name] * COUNTS[0] for name in names)

    @property
    def coupled(self) -> bool:
        """Whether the output for an input depends on the other inputs in the batch, by more than rounding."""
        few, more = self.few.outputs, self.more.outputs
        if few is None or more is None or few is more:
            return False
        if not few.is_floating_point():
            return not torch.equal(few, more[..., : COUNTS[0], :])
        difference = (few - more[..., : COUNTS[0], :]).abs().nan_to_num()
        return bool(difference.max() > torch.finfo(few.dtype).eps ** 0.5 * few.abs().nan_to_num().max())


class _Run(DrawMonitor):
    """One run of a network, after a reset, on the first inputs.

    Attributes:
        outputs: its outputs, if they can be read as [T, N, C] or [N, C].
        wrote: whether it modified its inputs.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, count: int, sampling: Sampling, *, closely: bool) -> None:
        super().__init__(model, closely=closely)
        which = torch.arange(count, device=inputs.device) % inputs.shape[sampling.batch_dim]
        given = inputs.index_select(sampling.batch_dim, which)
        sampling.reset(model)
        with parametrize.cached(), global_seed(0, inputs.device), self:
            outputs = model(given)
            if sampling.output is not None:
                outputs = sampling.output(outputs)
        self.wrote = given.is_inference() or given._version > 0
        usable = isinstance(outputs, Tensor) and outputs.dim() in (2, 3) and not outputs.is_complex()
        usable = usable and outputs.shape[-2] == count and outputs.numel() > 0
        self.outputs = outputs if usable else None
