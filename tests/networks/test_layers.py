from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tsnn_uq.checks import InputError
from tsnn_uq.coding import constant_current, is_constant_over_time
from tsnn_uq.networks import Linear


def layer(bias: bool = True) -> Linear:
    made = Linear(5, 3, bias=bias)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape, generator=torch.Generator().manual_seed(0)))
    return made


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_linear_layer_of_torch_at_each_step(bias):
    ours, theirs = layer(bias), nn.Linear(5, 3, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    inputs = torch.randint(-3, 4, (6, 4, 5), generator=torch.Generator().manual_seed(1)).float()
    assert torch.equal(ours(inputs), torch.stack([theirs(step) for step in inputs]))


@pytest.mark.parametrize("steps", [1, 6])
def test_input_that_is_held_equals_its_copies_and_is_multiplied_once(steps):
    image = torch.randint(-3, 4, (4, 5), generator=torch.Generator().manual_seed(1)).float()
    held, copied = layer(), layer()
    with FlopCounterMode(display=False) as counter:
        a = held(constant_current(image, steps))
    assert counter.get_total_flops() == 2 * 4 * 5 * 3
    assert is_constant_over_time(a)
    b = copied(torch.stack([image] * steps))
    assert torch.equal(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    assert torch.equal(held.weight.grad, copied.weight.grad)
    assert torch.equal(held.bias.grad, copied.bias.grad)


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 4, 6), (1, 5)])
def test_an_input_of_another_shape_is_refused(shape):
    match = rf"^inputs: expected shape \[T, N, 5\]; got a float32 tensor of shape \[{', '.join(map(str, shape))}\]"
    with pytest.raises(InputError, match=match):
        layer()(torch.zeros(shape))
