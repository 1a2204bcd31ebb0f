from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from tests.helpers.peers import library, peer
from tsnn_uq.checks import InputError
from tsnn_uq.quantization import SCALES, freeze, make_rule, select_layers, ternarize, ternary_codes
from tsnn_uq.training import Direct, FitSettings, Indirect, fit
from tsnn_uq.uncertainty import DropConnectLinear, make_deterministic, make_stochastic, mc_predict

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
    with pytest.raises(InputError, match=r"^model: expected layers with plain weights.*'3' is parametrized"):
        ternarize(model)
    assert not hasattr(model[0], "parametrizations")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"layers": ["33"]}, "^layers: expected names among: 0, 3"),
        ({"rule": "lerned"}, "^rule: expected one of"),
        ({"scale": "chanel"}, "^scale: expected one of"),
        ({"sparsity": 0.5}, r"^rule: 'mean-fraction' does not take these options: .*'sparsity'"),
        ({"rule": "learned", "sparsity": 0.5}, "^rule: 'learned' takes the option factor"),
        ({"rule": "learned", "factor": 0.0}, "^factor: expected a positive number"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_happens(arguments, match):
    model = small()
    with pytest.raises(InputError, match=match):
        ternarize(model, **arguments)
    assert not hasattr(model[0], "parametrizations")


def pruned(layer: nn.Module) -> None:
    prune.l1_unstructured(layer, "weight", amount=0.3)


def integers(layer: nn.Module) -> None:
    layer.weight = nn.Parameter(torch.ones(6, 12, dtype=torch.int8), requires_grad=False)


def complex_numbers(layer: nn.Module) -> None:
    layer.weight = nn.Parameter(torch.ones(6, 12, dtype=torch.complex64))


def uninitialized(layer: nn.Module) -> None:
    layer.weight = nn.UninitializedParameter()


HOOKED = {
    "pruned": (pruned, "computed by a hook"),
    "weight norm": (nn.utils.weight_norm, "computed by a hook"),
    "spectral norm": (nn.utils.spectral_norm, "computed by a hook"),
    "integers": (integers, "is a int8 tensor"),
    "complex numbers": (complex_numbers, "is a complex64 tensor"),
    "uninitialized": (uninitialized, "has no shape yet"),
}


def fit_indirect(model: nn.Module) -> None:
    fit(model, (torch.rand(4, 1, 3, 3), torch.arange(4)), seed=0, method=Indirect(), settings=FitSettings(epochs=1))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated")
@pytest.mark.parametrize(
    "change",
    [
        ternarize,
        lambda model: ternarize(model, rule="learned"),
        lambda model: make_stochastic(model, "dropconnect"),
        fit_indirect,
    ],
)
@pytest.mark.parametrize("kind", HOOKED)
def test_a_weight_that_cannot_be_replaced_is_refused_by_name_and_nothing_happens(kind, change):
    model = small()
    make, why = HOOKED[kind]
    make(model[3])
    types, names = [type(module) for module in model.modules()], [name for name, _ in model.named_parameters()]
    first = model[0].weight.detach().clone()
    with pytest.raises(
        InputError, match=rf"^layers: expected weights that are floating-point.* that of '3' (is )?{why}"
    ):
        change(model)
    assert [type(module) for module in model.modules()] == types
    assert [name for name, _ in model.named_parameters()] == names
    assert torch.equal(model[0].weight, first)
    assert ternarize(model, ["0"]) == ["0"]  # the others are none the worse for it


def test_after_undoing_the_hook_the_layer_becomes_ternary():
    model = small()
    pruned(model[3])
    prune.remove(model[3], "weight")
    assert ternarize(model) == ["0", "3"]
    assert (model[3].weight == 0).sum() >= round(0.3 * 72)


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm])
@pytest.mark.parametrize("change", [ternarize, fit_indirect])
def test_a_weight_that_something_else_makes_is_refused(norm, change):
    model = small()
    norm(model[3])
    with pytest.raises(InputError, match="'3' is parametrized already, by _"):
        change(model)
    assert not hasattr(model[0], "parametrizations")


@pytest.mark.parametrize("method", [Direct, Indirect])
def test_a_network_with_dropconnect_is_trained_to_be_ternary_and_keeps_it(method):
    model = small()
    make_stochastic(model, "dropconnect", p=0.2)
    fit(model, (torch.rand(4, 1, 3, 3), torch.arange(4)), seed=0, method=method(), settings=FitSettings(epochs=2))
    for name in ("0", "3"):
        layer = model.get_submodule(name)
        assert is_ternary(original(layer), "layer")
        assert len(original(layer).unique()) == 3
        assert torch.equal(layer.weight, original(layer))
    assert make_deterministic(model) == ["0", "3"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_the_codes_of_single_precision(rule, scale, dtype):
    """Whether the network is ternary before or after; 400,000 weights, more than float16 can count."""
    wide = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.ConvTranspose1d(8, 6, 3, groups=2))
    with torch.no_grad():
        wide[0].weight.normal_(generator=seeded(0))
    before, after = copy.deepcopy(wide), copy.deepcopy(wide)
    ternarize(before, rule=rule, scale=scale)
    before.to(dtype)
    ternarize(after.to(dtype), rule=rule, scale=scale)
    for model in (before, after):
        single = copy.deepcopy(model).float()  # the same weights, and the same learned factor
        for name in ("0", "2"):
            weight, wanted = (both.get_submodule(name).weight for both in (model, single))
            assert weight.dtype == dtype
            assert torch.equal(weight.sign().float(), wanted.sign())
            assert torch.equal(weight, wanted.to(dtype))
            assert (wanted != 0).float().mean() > 0.3
    weights = [after.get_submodule(name).weight.detach() for name in ("0", "2")]
    freeze(after)
    assert all(torch.equal(after.get_submodule(n).weight, w) for n, w in zip(("0", "2"), weights, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_learned_threshold_has_its_gradient_in_half_precision_too(dtype):
    layers = []
    for kind in (torch.float32, dtype):
        layer = nn.Linear(700, 300, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(300, 700, generator=seeded(0)).to(dtype))
        ternarize(layer.to(kind), rule="learned", factor=0.75)  # a number of both
        layer.weight.sum().backward()
        layers.append(layer)
    single, half = layers
    assert half.parametrizations.weight[0].factor.grad.item() == pytest.approx(
        single.parametrizations.weight[0].factor.grad.item(), rel=1e-2
    )
    assert torch.equal(original(half).grad, torch.ones(300, 700, dtype=dtype))


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
