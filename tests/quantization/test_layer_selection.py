from __future__ import annotations

import pytest
from torch import nn

from tests.helpers.peers import library
from tsnn_uq.checks import InputError
from tsnn_uq.quantization.layer_selection import is_conv, is_fc, is_weight_layer, select_layers
from tsnn_uq.uncertainty import DropConnectLinear


class Own(nn.Conv2d):
    pass


def network() -> nn.Sequential:
    body = nn.Sequential(Own(1, 2, 3), nn.BatchNorm2d(2), nn.ConvTranspose1d(2, 2, 1))
    network = nn.Sequential(nn.Conv1d(1, 1, 1), body, nn.Flatten())
    network.add_module("head", nn.Linear(4, 4))
    network.add_module("tail", DropConnectLinear(4, 2))
    return network


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ("all", ["0", "1.0", "1.2", "head", "tail"]),
        ("conv", ["0", "1.0", "1.2"]),
        ("fc", ["head", "tail"]),
        (["head"], ["head"]),
        (iter(["tail", "1.0"]), ["tail", "1.0"]),
        (is_fc, ["head", "tail"]),
        (lambda name, module: name != "tail", ["0", "1.0", "1.2", "head"]),
        (lambda name, module: isinstance(module, Own), ["1.0"]),
        (lambda name, module: True, ["0", "1.0", "1.2", "head", "tail"]),  # never what has no weights to quantize
    ],
)
def test_layers_are_chosen(layers, names):
    model = network()
    chosen = select_layers(model, layers)
    assert list(chosen) == names
    assert all(chosen[name] is model.get_submodule(name) for name in names)


def test_a_layer_alone_has_the_empty_name():
    layer = nn.Linear(2, 2)
    assert select_layers(layer) == {"": layer}


def test_layers_of_spikingjelly_are_layers():
    library("spikingjelly")
    from spikingjelly.activation_based import layer

    assert is_conv("", layer.Conv2d(1, 1, 1))
    assert is_fc("", layer.Linear(1, 1))
    assert not is_weight_layer("", layer.BatchNorm2d(1))


LISTING = r"0, 1\.0, 1\.2, head, tail"


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ("convs", "^layers: expected one of"),
        ("head", "^layers: expected names in a list"),
        (["haed"], f"^layers: expected names among: {LISTING}"),
        (["head", "1.1"], f"^layers: expected names among: {LISTING}"),
        ([], "^layers: expected a choice that matches a layer"),
        (lambda name, module: False, "^layers: expected a choice that matches a layer"),
    ],
)
def test_a_choice_that_matches_nothing_lists_what_there_is(layers, match):
    with pytest.raises(InputError, match=match):
        select_layers(network(), layers)


@pytest.mark.parametrize(
    ("model", "listing"), [(nn.Flatten(), "none"), (nn.Linear(2, 2), "Linear"), (nn.Sequential(nn.Linear(2, 2)), "0")]
)
def test_the_listing_names_the_layers(model, listing):
    with pytest.raises(InputError, match=rf"got none of: {listing}$"):
        select_layers(model, "conv")
