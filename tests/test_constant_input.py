from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from tsnn_uq.constant_input import is_constant, repeat_over_time, single_step


def values(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def test_it_is_a_view_of_one_step():
    x = values(2, 3)
    held = repeat_over_time(x, 5)
    assert held.shape == (5, 2, 3)
    assert is_constant(held)
    assert held.data_ptr() == x.data_ptr() == single_step(held).data_ptr()
    assert torch.equal(single_step(held), x)
    assert not is_constant(torch.zeros(5, 2))
    assert is_constant(torch.zeros(1, 2))


def test_what_was_held_comes_back_with_nothing_in_between():
    x = values(2)
    assert single_step(repeat_over_time(x, 3)) is x


def test_what_was_held_without_gradients_has_none():
    x = values(2)
    with torch.no_grad():
        held = repeat_over_time(x, 3)
    assert single_step(held) is not x
    (single_step(held) + x).sum().backward()
    assert x.grad.tolist() == [1, 1]


@given(st.integers(1, 7), st.lists(st.integers(1, 3), max_size=3))
def test_gradients_are_those_of_slices_and_expansions(steps, shape):
    weights = values(steps, *shape, seed=1).detach()
    results = []
    for through in (
        lambda x: repeat_over_time(single_step(repeat_over_time(x.square(), steps)).sin(), steps),
        lambda x: x.square().expand(steps, *x.shape)[:1].sin().expand(steps, *x.shape),
    ):
        x = values(*shape)
        (through(x) * weights).sum().backward()
        results.append(x.grad)
    torch.testing.assert_close(*results)


def test_a_held_value_may_go_two_ways():
    """One gradient that is held and one that is not are added up."""
    x = values(4)
    held = repeat_over_time(x.exp(), 3)
    weights = torch.arange(12, dtype=torch.float64).reshape(3, 4)
    (single_step(held).square().sum() + (held * weights).sum()).backward()
    torch.testing.assert_close(x.grad, (2 * x.exp().square() + weights.sum(0) * x.exp()).detach())


@pytest.mark.parametrize("steps", [1, 3])
def test_gradients_of_all_orders(steps):
    def chain(x):
        return repeat_over_time(single_step(repeat_over_time(x.sin(), steps)).exp(), steps)

    assert gradcheck(chain, values(2, 2))
    assert gradgradcheck(chain, values(2, 2))


def test_gradients_in_between_are_held_too():
    seen = []
    x = values(4)
    view = repeat_over_time(x.exp(), 6)[:]  # which knows no longer what was held
    view.register_hook(lambda grad: seen.append(is_constant(grad)))
    repeat_over_time(single_step(view).sin(), 6).sum().backward()
    assert seen == [True]
