from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tsnn_uq.checks import InputError
from tsnn_uq.coding import constant_current, is_constant_over_time
from tsnn_uq.networks import Conv2d, Linear, OverTime


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
    match = r"^inputs: expected shape \[T, N, 5\]"
    with pytest.raises(InputError, match=match):
        layer()(torch.zeros(shape))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def integers(*shape: int) -> Tensor:
    """Small integers, so that no sum depends on its order."""
    return torch.randint(-3, 4, shape, generator=seeded(1)).float()


def whole(module: nn.Module) -> nn.Module:
    """The module with small integers as parameters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape, generator=seeded(0)))
    return module


CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": (3, 2), "stride": 2, "padding": 1, "bias": False},
    {"kernel_size": (1, 4), "groups": 2, "padding": (0, 3)},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_a_convolution_is_that_of_torch_at_each_step(options):
    ours, theirs = whole(Conv2d(4, 6, **options)), nn.Conv2d(4, 6, **options)
    theirs.load_state_dict(ours.state_dict())
    inputs = integers(5, 3, 4, 7, 6)
    assert torch.equal(ours(inputs), torch.stack([theirs(step) for step in inputs]))


TIMELESS = {
    "convolution": lambda: Conv2d(4, 6, (3, 2), stride=2, padding=1),
    "wrapped-convolution": lambda: OverTime(nn.Conv2d(4, 6, 3)),
    "norm": lambda: OverTime(nn.BatchNorm2d(4)).eval(),
    "pooling": lambda: OverTime(nn.MaxPool2d(2)),
    "several": lambda: OverTime(nn.Sequential(nn.Conv2d(4, 2, 3), nn.AvgPool2d(2), nn.Flatten())),
}


@pytest.mark.parametrize("name", TIMELESS)
@pytest.mark.parametrize("steps", [1, 6])
def test_a_map_that_is_held_equals_its_copies_and_is_computed_once(name, steps):
    images = [integers(3, 4, 7, 6).requires_grad_() for _ in range(2)]
    held, copied = whole(TIMELESS[name]()), whole(TIMELESS[name]())
    with FlopCounterMode(display=False) as once:
        a = held(constant_current(images[0], steps))
    with FlopCounterMode(display=False) as each_step:
        b = copied(torch.stack([images[1]] * steps))
    assert each_step.get_total_flops() == steps * once.get_total_flops()
    assert is_constant_over_time(a)
    assert a.shape[:2] == (steps, 3)
    assert torch.equal(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    for one, other in zip([images[0], *held.parameters()], [images[1], *copied.parameters()], strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_batchnorm_sees_all_steps_together():
    norm, plain = OverTime(nn.BatchNorm1d(5)), nn.BatchNorm1d(5)
    inputs = torch.randn(6, 4, 5, generator=seeded(0))
    assert torch.equal(norm(inputs).flatten(0, 1), plain(inputs.flatten(0, 1)))
    assert torch.equal(norm.module.running_var, plain.running_var)


def test_a_layer_without_time_is_applied_to_each_step():
    inputs = integers(5, 3, 4, 7, 6)
    pooled = OverTime(nn.AvgPool2d((2, 3)))(inputs)
    assert torch.equal(pooled, torch.stack([nn.functional.avg_pool2d(step, (2, 3)) for step in inputs]))
    assert OverTime(nn.Flatten())(inputs).shape == (5, 3, 168)


@pytest.mark.parametrize("shape", [(5,), (3, 4, 7, 6), (2, 3, 5, 7, 6), (1, 2, 3, 4, 7, 6)])
def test_a_map_of_another_shape_is_refused(shape):
    match = r"^inputs: expected shape \[T, N, 4, H, W\]"
    with pytest.raises(InputError, match=match):
        Conv2d(4, 6, 3)(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(), (5,), (5, 4)])
def test_time_and_batch_are_needed(shape):
    with pytest.raises(InputError, match=r"^inputs: expected shape \[T, N, ...\]"):
        OverTime(nn.Identity())(torch.zeros(shape))
