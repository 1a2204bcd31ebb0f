from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.peers import library, peer
from tsnn_uq.checks import InputError
from tsnn_uq.quantization import SCALES, freeze, make_rule, select_layers, ternarize, ternary_codes
from tsnn_uq.uncertainty import DropConnectLinear, mc_predict

RULES = ["mean-fraction", "mean-rounding", "quantile", "learned"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 3, 2),
            nn.ReLU(),
            nn.Conv1d(2, 3, 1),
            nn.Flatten(),
            nn.Linear(12, 6),
            nn.Linear(6, 2, bias=False),
        )


def small() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 6))


def original(layer: nn.Module) -> nn.Parameter:
    return layer.parametrizations.weight.original


def is_ternary(weight: Tensor, scale: str) -> bool:
    groups = weight.flatten(1) if scale == "channel" else weight.reshape(1, -1)
    return all(len(group[group != 0].abs().unique()) <= 1 for group in groups) and (
        scale != "none" or set(weight.flatten().tolist()) <= {-1.0, 0.0, 1.0}
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", SCALES)
def test_the_forward_pass_sees_ternary_weights_and_the_float_ones_stay(rule, scale):
    model = small()
    floats = {name: module.weight.detach().clone() for name, module in select_layers(model).items()}
    biases = [model[0].bias.clone(), model[3].bias.clone()]
    assert ternarize(model, rule=rule, scale=scale) == ["0", "3"]
    for name, weight in floats.items():
        layer = model.get_submodule(name)
        codes, factor = ternary_codes(weight, make_rule("mean-fraction" if rule == "learned" else rule), scale)
        assert torch.equal(layer.weight, codes * factor)
        assert is_ternary(layer.weight, scale)
        assert torch.equal(original(layer), weight)
    assert torch.equal(model[0].bias, biases[0])
    assert torch.equal(model[3].bias, biases[1])
    image = torch.randn(2, 1, 3, 3, generator=seeded(1))
    hidden = functional.conv2d(image, model[0].weight, model[0].bias).relu().flatten(1)
    assert torch.equal(model(image), functional.linear(hidden, model[3].weight, model[3].bias))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", SCALES)
def test_the_gradient_goes_straight_to_the_float_weights(rule, scale):
    model, image = small(), torch.randn(2, 1, 3, 3, generator=seeded(1))
    ternarize(model, rule=rule, scale=scale)
    plain = copy.deepcopy(model)
    freeze(plain)
    model(image).square().sum().backward()
    plain(image).square().sum().backward()
    for name in ("0", "3"):
        ternary, frozen = model.get_submodule(name), plain.get_submodule(name)
        torch.testing.assert_close(original(ternary).grad, frozen.weight.grad)
        torch.testing.assert_close(ternary.bias.grad, frozen.bias.grad)


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ("all", ["0", "2", "4", "5"]),
        ("conv", ["0", "2"]),
        ("fc", ["4", "5"]),
        (["5", "2"], ["5", "2"]),
        (lambda name, module: module.bias is None, ["5"]),
    ],
)
def test_chosen_layers_become_ternary_and_the_others_stay(layers, names):
    model = network()
    before = {name: module.weight.detach().clone() for name, module in select_layers(model).items()}
    assert ternarize(model, layers) == names
    for name, weight in before.items():
        assert torch.equal(model.get_submodule(name).weight, weight) == (name not in names)


def test_rules_take_their_options():
    model = small()
    ternarize(model, rule="quantile", sparsity=0.75)
    assert (model[3].weight == 0).sum() == 54  # of 72
    model = small()
    ternarize(model, rule="learned", factor=1.5)
    assert model[3].parametrizations.weight[0].factor.item() == 1.5


def test_a_layer_that_is_ternary_already_is_refused_and_nothing_happens():
    model = small()
    ternarize(model, ["3"])
    with pytest.raises(InputError, match=r"^model: expected layers with plain weights; '3' is parametrized already"):
        ternarize(model)
    assert not hasattr(model[0], "parametrizations")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"layers": ["33"]}, r"^layers: expected names among: 0, 3; got '33' \(did you mean '3'\?\)"),
        ({"rule": "lerned"}, r"^rule: expected one of .*, learned; got 'lerned' \(did you mean 'learned'\?\)"),
        ({"scale": "chanel"}, r"^scale: expected one of layer, channel, none; got 'chanel'"),
        ({"sparsity": 0.5}, r"^rule: 'mean-fraction' does not take these options: .*'sparsity'"),
        ({"rule": "learned", "sparsity": 0.5}, r"^rule: 'learned' takes the option factor; got sparsity"),
        ({"rule": "learned", "factor": 0.0}, r"^factor: expected a positive number; got 0.0"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_happens(arguments, match):
    model = small()
    with pytest.raises(InputError, match=match):
        ternarize(model, **arguments)
    assert not hasattr(model[0], "parametrizations")


def softened(weight: Tensor, factor: float, scale: str) -> Tensor:
    """The learned rule with a step that rises over [-1, 1], element by element; scale and mean as they are."""
    out = torch.empty_like(weight)
    _, scales = ternary_codes(weight, make_rule("mean-fraction", {"factor": 0.7}), scale)
    for channel in range(len(weight)):
        group = weight[channel] if scale == "channel" else weight
        mean = group.abs().mean().item()
        for place, w in enumerate(weight[channel].tolist()):
            x = min(max(abs(w) / mean - factor, -1.0), 1.0)
            step = 0.5 + x - x * abs(x) / 2
            sign = (w > 0) - (w < 0)
            out[channel, place] = sign * step * scales[channel if scale == "channel" else 0].item()
    return out


@pytest.mark.parametrize("scale", SCALES)
def test_the_learned_threshold_has_the_gradient_of_a_softened_step(scale):
    layer = nn.Linear(7, 4, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(4, 7, generator=seeded(0)))
        layer.weight[1] *= 5  # so that the means of channels differ
    weight = layer.weight.detach().clone()
    ternarize(layer, rule="learned", factor=0.7, scale=scale)
    rule = layer.parametrizations.weight[0].double()
    share = torch.randn(4, 7, generator=seeded(1), dtype=torch.float64)
    (share * layer.weight).sum().backward()
    step = 1e-6
    higher, lower = (softened(weight, 0.7 + sign * step, scale) for sign in (1, -1))
    finite = ((share * (higher - lower)).sum() / (2 * step)).item()
    assert finite != 0
    assert rule.factor.grad.item() == pytest.approx(finite, rel=1e-6)


def test_a_learned_threshold_survives_zeros_and_a_step_below_zero():
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [0.5, -1.0, 0.0]]))
    ternarize(layer, rule="learned", scale="channel")
    layer.parametrizations.weight[0].factor.data.fill_(-1.0)
    assert layer.weight.tolist() == [[0.0, 0.0, 0.0], [0.75, -0.75, 0.0]]
    layer.weight.sum().backward()
    assert layer.parametrizations.weight[0].factor.grad.isfinite()


def test_training_lowers_the_loss_through_the_float_copy():
    layer = nn.Linear(20, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 20, generator=seeded(0)))
    ternarize(layer, rule="learned")
    inputs, wanted = torch.randn(64, 20, generator=seeded(1)), torch.randn(64, 3, generator=seeded(2))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = functional.mse_loss(layer(inputs), wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert layer.parametrizations.weight[0].factor.item() != pytest.approx(0.7, abs=1e-3)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", SCALES)
def test_freeze_leaves_plain_ternary_weights(rule, scale):
    model, image = small(), torch.randn(2, 1, 3, 3, generator=seeded(1))
    ternarize(model, rule=rule, scale=scale)
    outputs = model(image)
    assert freeze(model) == ["0", "3"]
    assert torch.equal(model(image), outputs)
    for layer in (model[0], model[3]):
        assert not hasattr(layer, "parametrizations")
        assert isinstance(layer.weight, nn.Parameter)
        assert is_ternary(layer.weight, scale)
        assert len(layer.weight.unique()) == 3 or scale == "channel"
    assert set(model.state_dict()) == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert freeze(model) == []


class Halve(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def test_freeze_leaves_parametrizations_that_are_not_ours():
    model = small()
    nn.utils.parametrize.register_parametrization(model[0], "weight", Halve())
    ternarize(model, ["3"])
    assert freeze(model) == ["3"]
    assert hasattr(model[0], "parametrizations")


@pytest.mark.parametrize("rule", RULES)
def test_a_copy_and_a_loaded_state_are_the_same_network(rule):
    model, image = small(), torch.randn(2, 1, 3, 3, generator=seeded(1))
    ternarize(model, rule=rule, scale="channel")
    if rule == "learned":
        model[0].parametrizations.weight[0].factor.data.fill_(1.2)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(image), model(image))
    with torch.no_grad():
        original(twin[0]).zero_()
    assert not torch.equal(twin(image), model(image))  # its own weights
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(image), model(image))
    with pytest.raises(RuntimeError, match="parametrizations"):
        small().load_state_dict(model.state_dict())


@pytest.mark.parametrize("name", ["snntorch hidden", "snntorch loop", "spikingjelly multi", "spikingjelly single"])
def test_networks_of_other_libraries_become_ternary_where_they_are(name):
    model, inputs, options = peer(name, 0.5)
    layers = select_layers(model)
    assert ternarize(model) == list(layers)
    assert len(layers) == 2
    read = options.get("output", lambda outputs: outputs)
    read(model(inputs)).sum().backward()
    for layer in layers.values():
        assert is_ternary(layer.weight, "layer")
        assert original(layer).grad.abs().sum() > 0
    assert mc_predict(model, inputs, samples=2, generator=seeded(0), **options).shape == (2, 6, 3)
    freeze(model)
    assert all(isinstance(layer.weight, nn.Parameter) for layer in layers.values())


def test_convolutions_of_spikingjelly_become_ternary():
    library("spikingjelly")
    from spikingjelly.activation_based import layer

    model = nn.Sequential(layer.Conv2d(1, 2, 3, step_mode="m"), layer.BatchNorm2d(2, step_mode="m"))
    assert ternarize(model, "conv", scale="channel") == ["0"]
    model(torch.ones(3, 2, 1, 5, 5)).square().sum().backward()
    assert is_ternary(model[0].weight, "channel")
    assert original(model[0]).grad is not None


def test_our_dropconnect_becomes_ternary():
    layer = DropConnectLinear(6, 4)
    assert ternarize(layer) == [""]
    assert is_ternary(layer.weight, "layer")
