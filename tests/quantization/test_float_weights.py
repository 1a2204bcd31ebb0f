from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tsnn_uq.checks import InputError
from tsnn_uq.quantization import float_weights, freeze, ternarize


@pytest.mark.parametrize("rule", ["mean-fraction", "learned"])
def test_float_copies_are_lent_to_the_layers_for_a_while(rule, generator):
    plain = nn.Sequential(nn.Conv1d(2, 3, 2), nn.Linear(4, 2))
    model = copy.deepcopy(plain)
    inputs = torch.randn(5, 2, 5, generator=generator)
    ternarize(model, rule=rule)
    ternary = model(inputs)
    with float_weights(model):
        lent = model(inputs)
        gradients = torch.autograd.grad(
            lent.square().sum(), [layer.parametrizations.weight.original for layer in model]
        )
    assert torch.equal(model(inputs), ternary)
    expected = plain(inputs)
    assert torch.equal(lent, expected)
    assert not torch.equal(ternary, expected)
    assert all(
        map(torch.equal, gradients, torch.autograd.grad(expected.square().sum(), [layer.weight for layer in plain]))
    )


def test_an_error_ends_the_loan():
    model = nn.Sequential(nn.Linear(4, 2))
    ternarize(model)
    ternary = model[0].weight.clone()
    with pytest.raises(RuntimeError, match="shapes"), float_weights(model):
        model(torch.ones(2, 3))
    assert torch.equal(model[0].weight, ternary)


def test_without_float_copies_there_are_none_to_lend():
    model = nn.Sequential(nn.Linear(4, 2))
    ternarize(model)
    freeze(model)
    with pytest.raises(InputError, match=r"model: expected ternary layers with float copies.*; found none"):
        float_weights(model).__enter__()
