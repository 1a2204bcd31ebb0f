from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from tests.helpers.peers import PEERS, peer
from tests.helpers.training import TINY, Items, images, mlp, same
from tsnn_uq.checks import InputError
from tsnn_uq.quantization import freeze, select_layers, ternarize
from tsnn_uq.state import copy_at_rest
from tsnn_uq.training import quantize_trained, ternarize_trained
from tsnn_uq.training.batchnorm import batch_norms


def is_ternary(layer: nn.Module) -> bool:
    return layer.weight.unique().numel() <= 3 and not hasattr(layer, "parametrizations")


def test_batch_norms_see_what_the_ternary_weights_give():
    """With all inputs in one batch they are the mean and variance of the ternary first layer's outputs."""
    model, (x, y) = mlp(), images(17)
    plain = copy.deepcopy(model)
    before = model[1].running_mean.clone()
    assert ternarize_trained(model, (x, y), batch_size=17, factor=0.5) == ternarize(plain, factor=0.5)
    freeze(plain)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    outputs = plain[0](x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(model[1].running_mean, outputs.mean(1))
    torch.testing.assert_close(model[1].running_var, outputs.var(1))
    assert not torch.equal(model[1].running_mean, before)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("form", ["tensor", "pair", "dataset", "loader"])
def test_data_come_in_any_form_and_no_batch_is_of_one_input(form):
    """17 inputs in batches of 8 end with one alone, which BatchNorm cannot take."""
    x, y = images(17)
    dataset = Items(x, y)
    data = {"tensor": x, "pair": (x, y), "dataset": dataset, "loader": DataLoader(dataset, 6)}[form]
    models = [nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        ternarize_trained(model, data, batch_size=8, seed=3)
    assert torch.equal(models[0][2].running_mean, models[1][2].running_mean)
    assert batch_norms(models[0])[0].num_batches_tracked == (3 if form == "loader" else 2)


def test_without_batch_norm_no_data_are_needed_and_with_it_they_are():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    assert ternarize_trained(model, layers=["0"], scale="channel") == ["0"]
    assert not is_ternary(model[2])
    model, before = mlp(), mlp().state_dict()
    for wrong, message in [({}, "BatchNorm"), ({"train": images(), "layers": ["7"]}, "layers")]:
        with pytest.raises(InputError, match=message):
            ternarize_trained(model, **wrong)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", PEERS)
def test_networks_of_any_library(name):
    model, x, options = peer(name, 0.2)
    data, one_epoch = (x, torch.arange(6) % 3), replace(TINY, epochs=1, batch_size=3)
    model(x)  # leaves state behind, part of a graph
    before = copy_at_rest(model).state_dict()
    methods, seen = ["post-training", "float", "direct", "indirect", "distill"], []

    def quantized(*methods, **more):
        return quantize_trained(model, data, methods=methods, settings=one_epoch, **options, **more)

    found = quantized(*methods, progress=lambda *done: seen.append(done))
    assert list(found) == methods
    assert seen == [(name, step, 2) for name in methods[1:] for step in (1, 2)]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for method, network in found.items():
        assert sum(map(is_ternary, select_layers(network).values())) == (0 if method == "float" else 2)
    assert not same(found["float"], model)  # trained on, for a comparison at the same budget
    assert same(quantized("direct")["direct"], found["direct"])


def test_a_method_that_is_not_there_is_refused_before_any_training():
    with pytest.raises(InputError, match="methods"):
        quantize_trained(mlp(), images(), methods=["direct", "fp32"], progress=lambda *_: pytest.fail("trained"))
