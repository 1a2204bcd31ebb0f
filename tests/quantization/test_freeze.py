"""`freeze` takes the ternary step off a weight, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from tsnn_uq.checks import InputError
from tsnn_uq.quantization import Ternary, freeze, mean_fraction, ternarize
from tsnn_uq.uncertainty import make_deterministic, make_stochastic, mc_predict, rest, set_generator
from tsnn_uq.uncertainty.add_dropout import DroppedWeight
from tsnn_uq.uncertainty.stochastic_mode import only_stochastic_layers_train

RULES = ["mean-fraction", "mean-rounding", "quantile", "learned"]
SCALES = ["layer", "channel", "none"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))


IMAGES = torch.rand(4, 2, 3, 3, generator=seeded(1))


def masked_outputs(model: nn.Module) -> Tensor:
    """Outputs in training mode, with the masks of one seed."""
    set_generator(model, seeded(2))
    rest(model)
    return model.train()(IMAGES)


@pytest.mark.parametrize("first", ["ternary", "dropconnect"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scale", SCALES)
def test_dropconnect_stays_and_no_mask_gets_into_the_weight(first, training, rule, scale):
    model = network()
    if first == "ternary":
        ternarize(model, rule=rule, scale=scale)
        weights = [model[place].weight.detach().clone() for place in (0, 3)]
        make_stochastic(model, "dropconnect", p=0.5)
    else:
        make_stochastic(model, "dropconnect", p=0.5)
        ternarize(model, rule=rule, scale=scale)
        weights = [model.eval()[place].weight.detach().clone() for place in (0, 3)]
    before = masked_outputs(model)
    silent = model.eval()(IMAGES)
    parameters = set(map(id, model.parameters()))
    model.train(training)
    assert freeze(model) == ["0", "3"]
    assert [module.training for module in model.modules()] == [training] * len(list(model.modules()))
    assert torch.equal(masked_outputs(model), before)
    assert torch.equal(model.eval()(IMAGES), silent)
    assert parameters >= set(map(id, model.parameters()))
    assert make_deterministic(model) == ["0", "3"]
    for place, weight in zip((0, 3), weights, strict=True):
        assert torch.equal(model[place].weight, weight)
        assert type(model[place]) in (nn.ConvTranspose2d, nn.Linear)
    assert list(model.state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]


@pytest.mark.parametrize("training", [True, False])
def test_taking_dropconnect_off_leaves_the_ternary_step_and_no_mask(training):
    model = network()
    ternarize(model)
    weight = model[3].weight.detach().clone()
    make_stochastic(model, "dropconnect", p=0.5)
    masked_outputs(model.train(training))
    make_deterministic(model)
    assert torch.equal(model[3].weight, weight)
    assert isinstance(model[3].parametrizations.weight[0], Ternary)
    assert freeze(model) == ["0", "3"]
    assert torch.equal(model[3].weight, weight)


def test_samples_are_the_same_before_and_after():
    model = network()
    ternarize(model)
    make_stochastic(model, "dropconnect", p=0.5)
    before = mc_predict(model, IMAGES, samples=8, generator=seeded(3))
    with only_stochastic_layers_train(model):
        freeze(model)
    assert torch.equal(mc_predict(model, IMAGES, samples=8, generator=seeded(3)), before)


def test_a_mask_put_there_by_hand_before_the_ternary_step_stays():
    layer = nn.Linear(20, 3)
    parametrize.register_parametrization(layer, "weight", DroppedWeight(0.5, "fixed"), unsafe=True)
    set_generator(layer, seeded(0))
    parametrize.register_parametrization(layer, "weight", Ternary(mean_fraction()))
    weight = layer.eval().weight.detach().clone()
    layer.train()
    assert freeze(layer) == [""]
    assert torch.equal(layer.eval().weight, weight)
    assert [type(step) for step in layer.parametrizations.weight] == [DroppedWeight]


class Halve(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


@pytest.mark.parametrize("put", [lambda layer: parametrize.register_parametrization(layer, "weight", Halve())])
def test_what_changes_the_weight_before_the_ternary_step_is_refused_and_nothing_happens(put):
    model = network()
    ternarize(model, ["0"])
    put(model[3])
    parametrize.register_parametrization(model[3], "weight", Ternary(mean_fraction()))
    with pytest.raises(InputError, match="'3' has Halve there"):
        freeze(model)
    assert isinstance(model[0].parametrizations.weight[0], Ternary)


def test_a_weight_of_several_parameters_is_refused():
    layer = parametrizations.weight_norm(nn.Linear(4, 3))
    parametrize.register_parametrization(layer, "weight", Ternary(mean_fraction()))
    with pytest.raises(InputError, match="'' has _WeightNorm there"):
        freeze(layer)


@pytest.mark.parametrize("training", [True, False])
def test_spectral_norm_after_the_ternary_step_stays_as_it_is(training):
    layer = nn.Linear(6, 5)
    ternarize(layer)
    ternary = layer.weight.detach().clone()
    parametrizations.spectral_norm(layer)
    layer.train(training)
    twin = copy.deepcopy(layer)
    state = {name: value.clone() for name, value in layer.state_dict().items() if "original" not in name}
    assert freeze(layer) == [""]
    assert torch.equal(layer.parametrizations.weight.original, ternary)
    frozen = layer.state_dict()
    assert all(torch.equal(value, frozen[name.replace(".1.", ".0.")]) for name, value in state.items())
    assert torch.equal(layer.weight, twin.weight)


def test_a_ternary_step_on_another_tensor_is_frozen_too():
    attention = nn.MultiheadAttention(4, 2)
    parametrize.register_parametrization(attention, "in_proj_weight", Ternary(mean_fraction()))
    weight = attention.in_proj_weight.detach().clone()
    assert freeze(nn.Sequential(attention)) == ["0"]
    assert torch.equal(attention.in_proj_weight, weight)
    assert isinstance(attention.in_proj_weight, nn.Parameter)


def tied(*, same: bool = True) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    if not same:
        model[2] = nn.ConvTranspose1d(4, 4, 1)
        model[0] = nn.Conv1d(4, 4, 1)
        model[2].weight = model[0].weight
    return model


@pytest.mark.parametrize("rule", RULES)
def test_weights_that_are_tied_stay_tied(rule):
    model = tied()
    ternarize(model, rule=rule)
    weight = model[0].weight.detach().clone()
    freeze(model)
    assert model[0].weight is model[2].weight
    assert torch.equal(model[0].weight, weight)


def test_tied_weights_of_which_one_alone_was_ternary_part():
    model = tied()
    ternarize(model, ["2"])
    before = [model[place].weight.detach().clone() for place in (0, 2)]
    freeze(model)
    assert all(torch.equal(model[place].weight, weight) for place, weight in zip((0, 2), before, strict=True))


def test_tied_weights_with_scales_along_different_axes_part():
    model = tied(same=False)
    ternarize(model, scale="channel")
    before = [model[place].weight.detach().clone() for place in (0, 2)]
    assert not torch.equal(*before)
    freeze(model)
    assert all(torch.equal(model[place].weight, weight) for place, weight in zip((0, 2), before, strict=True))


def test_who_holds_the_float_parameter_keeps_its_values():
    layer = nn.Linear(4, 3)
    ternarize(layer)
    values = layer.parametrizations.weight.original.detach()
    before = values.clone()
    freeze(layer)
    assert torch.equal(values, before)
