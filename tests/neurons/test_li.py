"""Leaky integrators against the geometric sum that they are."""

from __future__ import annotations

import pytest
import torch

from tsnn_uq.checks import InputError
from tsnn_uq.neurons import LI


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 2, 4)])
@pytest.mark.parametrize(("decay", "gain"), [(0.0, 1.0), (0.8, 0.2), (1.0, -3.0)])
def test_potentials_are_geometric_sums(shape, decay, gain, generator):
    current = torch.rand(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    potentials = LI(decay, gain)(current)
    for t in range(5):
        weights = gain * torch.tensor([decay ** (t - s) for s in range(t + 1)], dtype=torch.float64)
        torch.testing.assert_close(potentials[t], torch.einsum("t...,t->...", current[: t + 1], weights))
    assert torch.autograd.gradcheck(LI(decay, gain), current)


def test_no_steps_give_no_potentials():
    assert LI(0.5)(torch.ones(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(("decay", "gain", "what"), [(1.5, 1.0, "decay"), (0.5, float("nan"), "gain")])
def test_values_out_of_range_are_refused(decay, gain, what):
    with pytest.raises(InputError, match=what):
        LI(decay, gain)
