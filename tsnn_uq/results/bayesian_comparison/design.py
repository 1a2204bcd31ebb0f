"""The design of a comparison: which rows of results share a family, a method or a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.checks import InputError, check_choice
from tsnn_uq.results.bayesian_comparison.measure_scales import Array

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Design", "check_values", "incidence", "make_design"]

Name = tuple[str, ...]
_BLOCK = ("dataset", "family", "configuration")


@dataclass(frozen=True)
class Design:
    """The layout of N rows in G groups.

    A *block* is a network family (of one data set and configuration, if the results have these columns), a *treatment*
    is a quantized part and method, and a *group* is the runs of one treatment in one block.

    Attributes:
        block_columns: the columns that name a block.
        groups: (names of the block, part, method) of each group.
        methods: names of the methods, in order of appearance.
        group: [N], the group of each row.
        seed: [N]; rows with the same number share a block and a seed.
    """

    block_columns: Name
    groups: tuple[tuple[Name, str, str], ...]
    methods: tuple[str, ...]
    group: Array
    seed: Array

    @cached_property
    def method(self) -> Array:
        """[N], the index of each row's method."""
        return np.array([self.methods.index(method) for _, _, method in self.groups])[self.group]

    @cached_property
    def block_of(self) -> Array:
        """[G], the index of each group's block."""
        return _numbers([block for block, _, _ in self.groups])

    @cached_property
    def treatment_of(self) -> Array:
        """[G], the index of each group's treatment."""
        return _numbers([treatment for _, *treatment in self.groups])

    def baselines(self, baseline: str) -> list[int | None]:
        """[G], the group that each is compared with: the baseline of its block, of the same part if there are several.

        Raises:
            InputError: a block has no baseline, or several of which none has the same part.
        """
        found: list[int | None] = []
        for block, part, method in self.groups:
            choices = {p: g for g, (b, p, m) in enumerate(self.groups) if b == block and m == baseline}
            where = f"baseline: expected {baseline} runs for {', '.join(block)}"
            if not choices:
                raise InputError(f"{where}; got none, only {', '.join(self.methods)}")
            if method == baseline:
                found.append(None)
            elif part in choices or len(choices) == 1:
                found.append(choices.get(part, next(iter(choices.values()))))
            else:
                raise InputError(f"{where} of one quantized part; got {', '.join(choices)} to compare {method} with")
        return found


def _numbers(keys: Sequence[Any]) -> Array:
    names = [tuple(map(str, key)) for key in keys]
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([order[name] for name in names])


def make_design(results: DataFrame, baseline: str) -> Design:
    """Read the layout of results.

    Args:
        results: as returned by `tsnn_uq.results.tables.read_results`.
        baseline: the method to compare with.

    Raises:
        InputError: columns are missing, the baseline is unknown or the only method, or a group has two rows of one
            seed or only one seed.
    """
    needed = ("family", "quantized_part", "method", "seed")
    missing = [name for name in needed if name not in results] or ["rows"] * (not len(results))
    if missing:
        raise InputError(f"results: expected rows with {', '.join(needed)}; got no {missing[0]}")
    block_columns = tuple(name for name in _BLOCK if name in results)
    blocks = list(results[list(block_columns)].fillna("").astype(str).itertuples(index=False, name=None))
    rows = list(zip(blocks, results["quantized_part"].astype(str), results["method"].astype(str), strict=True))
    methods = tuple(dict.fromkeys(method for _, _, method in rows))
    check_choice("baseline", baseline, methods)
    if len(methods) < 2:
        raise InputError(f"results: expected runs of a method other than {baseline}; got none")
    groups = tuple(dict.fromkeys(rows))
    group = np.array([groups.index(row) for row in rows])
    _check_seeds(groups, group, results["seed"].tolist())
    seeds = _numbers([(*block, seed) for block, seed in zip(blocks, results["seed"], strict=True)])
    return Design(block_columns, groups, methods, group, seeds)


def _check_seeds(groups: tuple[tuple[Name, str, str], ...], group: Array, seeds: Sequence[object]) -> None:
    for number, (block, part, method) in enumerate(groups):
        own = [seed for seed, of in zip(seeds, group, strict=True) if of == number]
        where = f"{', '.join(block)}, {part}, {method}"
        if len(set(own)) < len(own):
            raise InputError(f"results: expected one row per seed; got {len(own)} rows of {len(set(own))} for {where}")
        if len(own) < 2:
            raise InputError(f"results: expected at least two seeds of each group; got one for {where}")


def check_values(results: DataFrame, name: str, design: Design) -> Array:
    """The column `name` as finite numbers [N] that differ between the seeds of a method.

    Raises:
        InputError: the column does not exist or has values that are not finite numbers, or all seeds of each group have
            the same value.
    """
    import pandas as pd

    check_choice("measures", name, [str(column) for column in results.columns])
    values = pd.to_numeric(results[name], errors="coerce").to_numpy(float)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        got = f"{results[name].iloc[row]} in row {row}"
        raise InputError(f"measures: expected finite numbers in column {name}; got {got}")
    means = np.bincount(design.group, values) / np.bincount(design.group)
    if (np.abs(values - means[design.group]) <= 1e-9 * np.abs(values)).all():
        wanted = f"measures: expected values of {name} that differ between seeds"
        raise InputError(f"{wanted}; got the same for all seeds of each method (such a difference is exact)")
    return values


def incidence(numbers: Array) -> Tensor:
    """One-hot encoding [N, K] of K different numbers [N]."""
    return torch.nn.functional.one_hot(torch.from_numpy(numbers)).double()
