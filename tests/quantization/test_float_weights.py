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
    with pytest.raises(InputError, match="model: expected ternary layers with float copies"):
        float_weights(model).__enter__()


def is_lent(model: nn.Sequential) -> bool:
    return torch.equal(model[0].weight, model[0].parametrizations.weight.original)


def two() -> list[nn.Sequential]:
    models = [nn.Sequential(nn.Linear(4, 2)), nn.Sequential(nn.Linear(4, 2))]
    for model in models:
        ternarize(model)
    return models


def test_contexts_may_be_nested_also_by_an_error():
    model, other = two()
    with float_weights(model):
        with float_weights(model), float_weights(other):
            assert is_lent(model)
            assert is_lent(other)
        assert is_lent(model)
        assert not is_lent(other)
        with pytest.raises(RuntimeError, match="inside"), float_weights(model):
            raise RuntimeError("inside")
        assert is_lent(model)
    assert not is_lent(model)


def test_contexts_may_overlap_and_share_layers():
    model, other = two()
    both = nn.Sequential(model[0], other[0])
    first, second = float_weights(both), float_weights(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert is_lent(model)
    assert not is_lent(other)
    second.__exit__(None, None, None)
    assert not is_lent(model)


def test_one_context_may_be_entered_by_a_function_that_calls_itself():
    (model, _), seen = two(), []

    @float_weights(model)
    def down(depth: int) -> None:
        seen.append(is_lent(model))
        if depth:
            down(depth - 1)
            seen.append(is_lent(model))

    down(3)
    assert seen == [True] * 7
    assert not is_lent(model)


def test_neither_a_copy_nor_a_frozen_network_takes_the_loan_with_it():
    model, _ = two()
    ternary = model[0].weight.detach().clone()
    with float_weights(model):
        twin = copy.deepcopy(model)
        assert torch.equal(twin[0].weight, ternary)
        freeze(model)
        assert torch.equal(model[0].weight, ternary)
    assert torch.equal(model[0].weight, ternary)
    assert torch.equal(twin[0].weight, ternary)
