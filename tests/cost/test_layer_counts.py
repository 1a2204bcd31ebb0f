from __future__ import annotations

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.peers import peer
from tsnn_uq.checks import InputError
from tsnn_uq.cost import cost
from tsnn_uq.cost.layer_counts import LayerCount, count_layers, ternary_scales
from tsnn_uq.quantization import freeze, ternarize

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def convolve_and_count(layer: nn.Module, image: Tensor) -> tuple[Tensor, int]:
    """The definition of a convolution of one image [C, ...], with a counter beside its multiplication."""
    axes = image.dim() - 1
    padded_shape = [size + 2 * margin for size, margin in zip(image.shape[1:], layer.padding, strict=True)]
    padded = torch.zeros(len(image), *padded_shape)
    padded[(slice(None), *(slice(m, m + s) for m, s in zip(layer.padding, image.shape[1:], strict=True)))] = image
    reach = [layer.dilation[a] * (layer.kernel_size[a] - 1) + 1 for a in range(axes)]
    sizes = [(padded_shape[a] - reach[a]) // layer.stride[a] + 1 for a in range(axes)]
    per_group = layer.in_channels // layer.groups
    out = torch.zeros(layer.out_channels, *sizes)
    multiplications = 0
    for channel, *where in itertools.product(range(layer.out_channels), *map(range, sizes)):
        group = channel // (layer.out_channels // layer.groups)
        for inner, *tap in itertools.product(range(per_group), *map(range, layer.kernel_size)):
            pixel = [layer.stride[a] * where[a] + layer.dilation[a] * tap[a] for a in range(axes)]
            out[(channel, *where)] += layer.weight[(channel, inner, *tap)] * padded[(group * per_group + inner, *pixel)]
            multiplications += 1
    return out, multiplications


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    axes = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 2))
    layer = CONVOLUTIONS[axes](
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        kernel_size=draw(st.integers(1, 2)),
        stride=draw(st.integers(1, 2)),
        padding=draw(st.integers(0, 1)),
        dilation=draw(st.integers(1, 2)),
        groups=groups,
        bias=False,
    )
    sizes = draw(st.lists(st.integers(3, 4), min_size=axes, max_size=axes))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    nn.init.normal_(layer.weight, generator=generator)
    return layer, torch.randn(layer.in_channels, *sizes, generator=generator)


@given(convolutions())
def test_macs_of_a_convolution_are_its_multiplications(case: tuple[nn.Module, Tensor]) -> None:
    layer, image = case
    with torch.no_grad():
        out, multiplications = convolve_and_count(layer, image)
        torch.testing.assert_close(layer(image[None])[0], out)  # so it was this convolution whose work was counted
    (count,) = count_layers(layer, image[None])
    assert count.macs == multiplications
    assert count.weights == layer.weight.numel()
    assert count.kind == "conv"


@st.composite
def transposed(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    axes, groups, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    layer = getattr(nn, f"ConvTranspose{axes}d")(
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        kernel_size=draw(st.integers(2, 3)),
        stride=stride,
        padding=draw(st.integers(0, 1)),
        output_padding=draw(st.integers(0, stride - 1)),
        groups=groups,
        bias=False,
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
    nn.init.normal_(layer.weight, generator=generator)
    sizes = draw(st.lists(st.integers(2, 3), min_size=axes, max_size=axes))
    return layer, torch.randn(layer.in_channels, *sizes, generator=generator)


def spread_and_count(layer: nn.Module, image: Tensor) -> tuple[Tensor, int]:
    """The definition of a transposed convolution of one image: each input is spread over the outputs by the kernel."""
    axes, per_group = image.dim() - 1, layer.out_channels // layer.groups
    whole = [
        (image.shape[1 + a] - 1) * layer.stride[a] + layer.kernel_size[a] + layer.output_padding[a] for a in range(axes)
    ]
    out = torch.zeros(layer.out_channels, *whole)
    multiplications = 0
    for channel, *where in itertools.product(*map(range, image.shape)):
        first = channel // (layer.in_channels // layer.groups) * per_group
        for inner, *tap in itertools.product(range(per_group), *map(range, layer.kernel_size)):
            pixel = [layer.stride[a] * where[a] + tap[a] for a in range(axes)]
            out[(first + inner, *pixel)] += layer.weight[(channel, inner, *tap)] * image[(channel, *where)]
            multiplications += 1
    margins = (slice(m, size - m) for m, size in zip(layer.padding, whole, strict=True))
    return out[(slice(None), *margins)], multiplications


@given(transposed())
def test_macs_of_a_transposed_convolution_are_its_multiplications(case: tuple[nn.Module, Tensor]) -> None:
    layer, image = case
    with torch.no_grad():
        out, multiplications = spread_and_count(layer, image)
        torch.testing.assert_close(layer(image[None])[0], out)
    (count,) = count_layers(layer, image[None])
    assert (count.macs, count.weights, count.kind) == (multiplications, layer.weight.numel(), "conv")


@pytest.mark.parametrize("scale", ["layer", "channel"])
def test_scales_of_a_transposed_convolution_are_those_of_its_output_channels(scale: str) -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    ternarize(layer, scale=scale)
    (count,) = count_layers(layer, torch.zeros(1, 4, 2, 2))
    assert (count.ternary, count.scales) == (True, 1 if scale == "layer" else 6)
    freeze(layer)
    assert count_layers(layer, torch.zeros(1, 4, 2, 2)) == (count,)


def conv_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3, stride=2, bias=False),
        nn.Flatten(),
        nn.Linear(36, 10),
    )


def test_whole_network_against_the_flop_counter_of_torch() -> None:
    model, image = conv_net().eval(), torch.zeros(1, 1, 14, 14)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    assert 2 * sum(layer.macs for layer in count_layers(model, image)) == counter.get_total_flops()


def test_every_parameter_is_stored_once() -> None:
    counts = count_layers(conv_net(), torch.zeros(1, 1, 14, 14))
    assert [(count.name, count.kind, count.weights, count.extras) for count in counts] == [
        ("0", "conv", 54, 6),
        ("1", "other", 0, 12),
        ("3", "conv", 216, 0),
        ("5", "fc", 360, 10),
    ]


class OverTime(nn.Module):
    """Runs its layers over [T, N, C, H, W] in one of the ways in which spiking networks do."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layers = conv_net()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "folded":
            return self.layers(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        if self.way == "loop":
            return torch.stack([self.layers(step) for step in x])
        return self.layers(x[0]).expand(len(x), -1, -1)  # the input is constant: once is enough


@pytest.mark.parametrize("way", ["folded", "loop", "once"])
@pytest.mark.parametrize(("steps", "inputs"), [(1, 1), (5, 1), (1, 3), (4, 2)])
def test_counts_are_for_one_step_and_one_input(way: str, steps: int, inputs: int) -> None:
    macs = [count.macs for count in count_layers(OverTime(way), torch.zeros(steps, inputs, 1, 14, 14))]
    assert macs == [54 * 14 * 14, 0, 216 * 3 * 3, 360]


class MultiStepConv(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(0, 1)).unflatten(0, input.shape[:2])


def test_subclass_with_a_time_axis_of_its_own() -> None:
    (count,) = count_layers(MultiStepConv(2, 3, 3), torch.zeros(4, 5, 2, 6, 7))
    assert count.macs == 3 * 2 * 3 * 3 * 4 * 5


def test_the_model_is_left_as_it_was() -> None:
    model = conv_net().train()
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_layers(model, torch.ones(2, 1, 14, 14))
    assert [module.training for module in model] == [True, True, False, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def block() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU())


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    model[2].weight, model[3].weight, model[3].bias = model[0].weight, model[0].weight, model[0].bias
    return model


def shared_block() -> nn.Sequential:
    twice = block()
    return nn.Sequential(twice, twice, nn.ConvTranspose2d(2, 3, 2, stride=2), nn.Flatten(), nn.Linear(192, 2))


def shared_layer() -> nn.Sequential:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Sequential(layer, nn.Identity()))


class Aliases(nn.Module):
    """Further names, which nothing is called by."""

    def __init__(self, inner: nn.Sequential) -> None:
        super().__init__()
        self.inner, self.first, self.last = inner, inner[0], inner[-1]

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class CalledTwice(nn.Module):
    """One name, two calls."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.fc, self.neuron = nn.Linear(4, 8), nn.Linear(8, 8), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.fc(self.neuron(self.encoder(x))))


class Looped(nn.Module):
    def __init__(self, inner: nn.Module, steps: int) -> None:
        super().__init__()
        self.inner, self.steps = inner, steps

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.inner(x) for _ in range(self.steps)])


SHARING = {
    "tied": (tied, (2, 4)),
    "shared block": (shared_block, (2, 2, 8, 8)),
    "shared layer": (shared_layer, (2, 4)),
    "aliases": (lambda: Aliases(conv_net()), (1, 1, 14, 14)),
    "aliases of what is tied": (lambda: Aliases(tied()), (2, 4)),
    "called twice": (CalledTwice, (1, 4)),
}


@pytest.mark.parametrize("steps", [None, 2, 3])
@pytest.mark.parametrize("name", SHARING)
def test_what_is_shared_is_stored_once_and_computed_each_time(name: str, steps: int | None) -> None:
    make, shape = SHARING[name]
    model = make().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(shape))
    whole = Looped(model, steps) if steps else model
    counts = count_layers(whole, torch.zeros(shape))
    assert 2 * sum(layer.macs for layer in counts) * shape[0] == counter.get_total_flops()
    assert sum(layer.weights + layer.extras for layer in counts) == sum(p.numel() for p in model.parameters())
    assert [layer.name for layer in counts] == [
        name for name, module in whole.named_modules() if list(module.parameters(recurse=False))
    ]


def test_a_tied_weight_costs_energy_where_it_is_used_and_bytes_where_it_is_first() -> None:
    model = tied()
    ternarize(model)
    first, second, third, last = count_layers(model, torch.zeros(1, 4))
    assert [layer.weights for layer in (first, second, third, last)] == [16, 0, 0, 12]
    assert [layer.scales for layer in (first, second, third, last)] == [1, 0, 0, 1]
    assert [layer.extras for layer in (first, second, third, last)] == [4, 4, 0, 3]
    assert first.macs == second.macs == third.macs == 16
    assert first.sparsity == second.sparsity > 0
    total = cost((first, second, third, last), steps=1)
    assert total.layers[1].energy_pj == total.layers[0].energy_pj > 0
    assert total.storage_bytes == 4 + 3 + 4 * (2 + 11)
    plain = copy.deepcopy(model)
    freeze(plain)
    assert count_layers(plain, torch.zeros(1, 4)) == (first, second, third, last)


def test_one_parameter_of_which_one_layer_makes_ternary_weights_is_stored_twice() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    ternarize(model, ["1"])
    first, second = count_layers(model, torch.zeros(1, 4))
    assert (first.weights, first.ternary) == (16, False)
    assert (second.weights, second.ternary) == (16, True)


class Sign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.full((3, 3), 0.4))  # belongs to training, not to the stored layer

    def forward(self, weight: Tensor) -> Tensor:
        return 0.25 * weight.sign() * (weight.abs() > self.threshold.mean())


def test_a_parametrized_weight_is_read_as_the_layer_uses_it() -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, 0.5, -0.9], [0.3, -0.6, 0.2]]))
    parametrize.register_parametrization(layer, "weight", Sign())
    assert count_layers(nn.Sequential(layer), torch.zeros(1, 3)) == (
        LayerCount("0", "fc", weights=6, macs=6, sparsity=0.5, ternary=True, scales=1, extras=2),
    )


def scales_by_sets(weight: Tensor) -> int:
    """From the definition, element by element."""
    channels = [{abs(value) for value in row if value != 0} for row in weight.flatten(1).tolist()]
    if any(len(magnitudes) > 1 for magnitudes in channels):
        return 0
    scales = 1 if len(set().union(*channels)) <= 1 else len(channels)
    return scales if scales < weight.numel() else 0


@given(st.data(), st.integers(1, 3), st.integers(1, 4), st.sampled_from([(1,), (2,), (1, 2)]))
def test_ternary_scales_against_sets(data: st.DataObject, out: int, inner: int, kernel: tuple[int, ...]) -> None:
    shape = (out, inner, *kernel)
    count = torch.Size(shape).numel()
    codes = torch.tensor(data.draw(st.lists(st.integers(-1, 1), min_size=count, max_size=count))).reshape(shape)
    scales = torch.tensor(data.draw(st.lists(st.sampled_from([0.5, 0.1, 3.0]), min_size=out, max_size=out)))
    weight = codes * scales.reshape(-1, *[1] * (len(shape) - 1))
    assert ternary_scales(weight) == scales_by_sets(weight)
    weight.view(-1)[data.draw(st.integers(0, count - 1))] = 0.7
    assert ternary_scales(weight) == scales_by_sets(weight)


@pytest.mark.parametrize(
    ("weight", "scales"),
    [
        (torch.zeros(2, 3), 1),
        (torch.tensor([[0.0, 0.0], [0.2, -0.2]]), 1),
        (torch.full((4, 1), 0.3), 1),
        (torch.tensor([[0.3], [0.2]]), 0),  # any float layer with a single input looks like this
        (torch.tensor([[0.3]]), 0),
        (torch.tensor([[0.3, torch.nextafter(torch.tensor(0.3), torch.tensor(1.0))]]), 0),
        (torch.tensor([[torch.nan, 1.0]]), 0),
    ],
)
def test_ternary_scales_at_the_edges(weight: Tensor, scales: int) -> None:
    assert ternary_scales(weight) == scales


def test_an_example_may_come_from_a_dataset_or_a_dataloader() -> None:
    inputs, labels = torch.zeros(5, 1, 4, 4), torch.zeros(5, dtype=torch.long)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    whole = count_layers(network, inputs)
    for data in ((inputs, labels), [(inputs[0], 0)], TensorDataset(inputs), DataLoader(TensorDataset(inputs, labels))):
        assert count_layers(network, data) == whole
    over_time = nn.Sequential(nn.Flatten(2), nn.Linear(16, 3))
    assert count_layers(over_time, TensorDataset(inputs), batch_dim=1)[0].macs == 48


def test_no_layer_is_an_error() -> None:
    with pytest.raises(InputError, match=r"model: expected an nn.Linear or nn.Conv layer"):
        count_layers(nn.Flatten(), torch.zeros(1, 2))


def test_a_layer_that_does_not_run_is_an_error() -> None:
    model = conv_net()
    model[0].spare = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"expected layer '0.spare' to run"):
        count_layers(model, torch.zeros(1, 1, 14, 14))


class SizesDiffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.neuron = nn.Conv2d(1, 1, 2), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):  # as if over time
            x = self.neuron(self.conv(x))
        return x


def test_other_sizes_in_each_step_are_an_error() -> None:
    with pytest.raises(InputError, match=r"expected layer 'conv' to run with the same sizes .* sizes \[4, 9\]"):
        count_layers(SizesDiffer(), torch.zeros(1, 1, 4, 4))


def test_a_weight_matrix_in_a_foreign_module_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.RNN(2, 3))
    with pytest.raises(InputError, match=r"expected weights in nn.Linear .* \[3, 2\] in '1', a RNN"):
        count_layers(model, torch.zeros(2, 2))


def test_a_count_by_hand_is_checked() -> None:
    with pytest.raises(InputError, match="kind: expected one of"):
        LayerCount("a", "cnov", 1, 1)
    with pytest.raises(InputError, match="sparsity: expected 0 <= value <= 1"):
        LayerCount("a", "fc", 1, 1, sparsity=53.77)
    with pytest.raises(InputError, match="macs: expected a count of at least 0"):
        LayerCount("a", "fc", 1, -1)


@pytest.mark.parametrize("name", ["snntorch hidden", "spikingjelly single"])
def test_counting_a_network_with_state_neither_sees_nor_leaves_any(name):
    network, inputs, _ = peer(name, 0.2)
    fresh = [(layer.name, layer.macs) for layer in count_layers(network, inputs)]
    network(inputs).sum()  # of another batch size, with a graph
    assert [(layer.name, layer.macs) for layer in count_layers(network, inputs[:1])] == fresh
    copy.deepcopy(network)  # no graph is left
