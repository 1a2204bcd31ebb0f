"""A scale for each output channel, wherever a layer's weight has its output channels."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.peers import library
from tsnn_uq.bayes import load_draws, save_draws
from tsnn_uq.quantization import fit_scale, freeze, make_rule, select_layers, ternarize, ternary_codes
from tsnn_uq.quantization.channels import outputs_first, transposed_groups
from tsnn_uq.quantization.packing import packed_bytes
from tsnn_uq.quantization.weight_files import load_weights, save_weights
from tsnn_uq.training import Direct, FitSettings, Indirect, fit
from tsnn_uq.uncertainty import DropConnectLinear

LAYERS = {
    "linear": lambda: nn.Linear(6, 4),
    "dropconnect": lambda: DropConnectLinear(6, 4, p=0.0),
    "conv1d": lambda: nn.Conv1d(4, 6, 2, groups=2),
    "conv2d": lambda: nn.Conv2d(2, 3, (1, 2), stride=2),
    "conv3d": lambda: nn.Conv3d(2, 2, 2),
    "transposed 1d": lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1),
    "transposed 2d": lambda: nn.ConvTranspose2d(2, 3, 2),
    "transposed 2d, square": lambda: nn.ConvTranspose2d(3, 3, 2, dilation=2),
    "transposed 2d, groups": lambda: nn.ConvTranspose2d(4, 6, (2, 1), groups=2, bias=False),
    "transposed 2d, depthwise": lambda: nn.ConvTranspose2d(4, 8, 2, groups=4, output_padding=1, stride=2),
    "transposed 3d, groups": lambda: nn.ConvTranspose3d(4, 2, 2, groups=2),
}
RULES = [("mean-fraction", {}), ("mean-rounding", {}), ("quantile", {"sparsity": 0.4}), ("learned", {})]


def make(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = LAYERS[name]()
    channels = channel_of(layer)
    with torch.no_grad():
        layer.weight *= (1 + channels) / 2  # channels of different size
    return layer


def channel_of(layer: nn.Module) -> Tensor:
    """For each weight the output channel that it acts on: the one whose outputs have a gradient for it."""
    axes = len(getattr(layer, "kernel_size", ()))
    inputs = torch.ones(1, 1, layer.in_features) if not axes else torch.ones(1, layer.in_channels, *[7] * axes)
    outputs = layer(inputs)
    by_channel = outputs.flatten(0, 1).T if not axes else outputs[0]
    acts = [torch.autograd.grad(out.sum(), layer.weight, retain_graph=True)[0] != 0 for out in by_channel]
    assert (torch.stack(acts).sum(0) == 1).all()
    return torch.stack(acts).int().argmax(0)


def by_hand(weight: Tensor, channels: Tensor, rule: str, options: dict[str, float]) -> Tensor:
    """Each output channel by itself, as if it were a layer of one row."""
    ternary = torch.empty_like(weight)
    for channel in channels.unique():
        mine = channels == channel
        row = weight[mine][None]
        codes, scale = ternary_codes(row, make_rule("mean-fraction" if rule == "learned" else rule, options))
        assert scale.item() == pytest.approx(row[codes != 0].abs().mean().item())
        ternary[mine] = (codes * scale)[0]
    return ternary


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("rule", "options"), RULES)
def test_each_output_channel_has_its_own_threshold_and_scale(name, rule, options):
    layer = make(name)
    wanted = by_hand(layer.weight.detach(), channel_of(layer), rule, options)
    share = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(1))
    ternarize(layer, rule=rule, scale="channel", **options)
    torch.testing.assert_close(layer.weight, wanted, rtol=1e-6, atol=0)
    (layer.weight * share).sum().backward()
    assert torch.equal(layer.parametrizations.weight.original.grad, share)
    ternary = layer.weight.detach().clone()
    freeze(layer)
    assert torch.equal(layer.weight, ternary)
    assert len(layer.weight.abs().unique()) == 1 + len(channel_of(layer).unique())


def test_the_outputs_of_a_transposed_convolution_are_those_of_its_channels():
    """One-hot inputs write the kernels of each output channel into the output: one magnitude in each channel."""
    layer = make("transposed 2d, groups")
    ternarize(layer, scale="channel")
    images = torch.zeros(4, 4, 3, 3)
    images[range(4), range(4), 1, 1] = 1
    magnitudes = layer(images).transpose(0, 1).flatten(1).abs().unbind()
    scales = [magnitude[magnitude > 0].unique().tolist() for magnitude in magnitudes]
    assert [len(scale) for scale in scales] == [1] * 6
    assert len({scale for (scale,) in scales}) == 6


@pytest.mark.parametrize("name", LAYERS)
def test_there_and_back_again(name):
    layer = make(name)
    weight, groups = layer.weight.detach(), transposed_groups(layer)
    first = outputs_first(weight, groups)
    assert [sorted(row.flatten().tolist()) for row in first] == [
        sorted(weight[channel_of(layer) == channel].tolist()) for channel in channel_of(layer).unique()
    ]
    assert torch.equal(outputs_first(first, groups), weight)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("scale", ["layer", "channel", "none"])
def test_files_keep_two_bits_a_weight_and_a_scale_a_channel(name, scale, tmp_path):
    network = nn.Sequential(make(name))
    ternarize(network, scale=scale)
    freeze(network)
    other = nn.Sequential(make(name))
    weight, channels = network[0].weight, len(channel_of(other[0]).unique())

    save_weights(tmp_path / "weights", network, ternary=["0"], header={})
    state, _ = load_weights(tmp_path / "weights")
    assert torch.equal(state["0.weight"], weight)
    other.load_state_dict(state)

    save_draws(tmp_path / "draws", [network, other])
    for draw in load_draws(tmp_path / "draws", nn.Sequential(make(name)))[0]:
        assert torch.equal(draw[0].weight, weight)
    content = packed_bytes(weight.numel()) + 4 * (channels if scale == "channel" else 1)
    biases = 0 if network[0].bias is None else 4 * network[0].bias.numel()
    for file in ("weights", "draws"):
        header = int.from_bytes((tmp_path / file).read_bytes()[:8], "little")
        assert (tmp_path / file).stat().st_size == 8 + header + content + biases


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.out = make("transposed 2d, groups"), nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.up(images).relu().mean((2, 3)))


@pytest.mark.parametrize("method", [Direct, Indirect])
def test_both_methods_train_them(method):
    network, images = Decoder(), torch.rand(12, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    channels = channel_of(copy.deepcopy(network.up))
    budget = FitSettings(epochs=3, batch_size=4)
    fit(network, (images, torch.arange(12) % 3), seed=0, method=method(scale="channel"), settings=budget)
    sizes = [network.up.weight[channels == channel].abs() for channel in range(6)]
    assert all(len(size[size > 0].unique()) == 1 for size in sizes)
    assert len(torch.stack([size.max() for size in sizes]).unique()) == 6


def test_scales_fit_each_channel_best():
    layer = make("transposed 2d, groups")
    codes = torch.randint(-1, 2, layer.weight.shape, generator=torch.Generator().manual_seed(0)).float()
    weight, channels = layer.weight.detach(), channel_of(layer)
    scales = fit_scale(outputs_first(weight, 2), outputs_first(codes, 2), "channel").flatten()
    for channel in range(6):
        column, values = codes[channels == channel][:, None], weight[channels == channel]
        best = torch.linalg.lstsq(column, values[:, None]).solution.item()
        assert scales[channel].item() == pytest.approx(best, rel=1e-5)


def test_every_kind_of_layer_that_is_chosen_was_tested():
    kinds = {type(LAYERS[name]()) for name in LAYERS}
    convolutions = {getattr(nn, f"Conv{form}{axes}d") for form in ("", "Transpose") for axes in (1, 2, 3)}
    assert kinds == convolutions | {nn.Linear, DropConnectLinear}


def test_transposed_convolutions_of_spikingjelly():
    library("spikingjelly")
    from spikingjelly.activation_based import layer

    network = nn.Sequential(layer.ConvTranspose2d(4, 6, 3, groups=2, step_mode="m"))
    plain = nn.ConvTranspose2d(4, 6, 3, groups=2)
    plain.load_state_dict(network[0].state_dict())
    wanted = by_hand(plain.weight.detach(), channel_of(plain), "mean-fraction", {})
    assert ternarize(network, scale="channel") == list(select_layers(network))
    torch.testing.assert_close(network[0].weight, wanted, rtol=1e-6, atol=0)
    network(torch.ones(3, 2, 4, 5, 5)).square().sum().backward()
