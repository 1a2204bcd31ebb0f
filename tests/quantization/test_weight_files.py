from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tsnn_uq.bayes import load_draws, save_draws
from tsnn_uq.checks import InputError
from tsnn_uq.files import write_tensors
from tsnn_uq.quantization import SCALES, freeze, load_weights, save_weights, ternarize
from tsnn_uq.quantization.packing import packed_bytes
from tsnn_uq.state import copy_at_rest
from tsnn_uq.uncertainty import make_stochastic

RULES = ["mean-fraction", "mean-rounding", "quantile", "learned"]


def network(dtype: torch.dtype = torch.float32, width: int = 7) -> nn.Sequential:
    """Shapes whose codes do not fill their last byte, biases, buffers and a layer that stays float."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, width), nn.Linear(width, 2, bias=False)
        ).to(dtype)


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.uint8) if tensor.dim() else tensor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("rule", RULES)
def test_weights_come_back_bit_for_bit(tmp_path, rule, scale, dtype):
    model = network(dtype)
    with torch.no_grad():
        model[3].weight[2].zero_()  # a channel of zeros only
    names = ternarize(model, ["0", "3"], rule=rule, scale=scale)
    freeze(model)
    path = tmp_path / "weights.safetensors"
    save_weights(path, model, ternary=names, header={"note": [1, "two"]})
    state, header = load_weights(path)
    wanted = model.state_dict()
    assert set(state) == set(wanted)
    for name, tensor in wanted.items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(bits(state[name]), bits(tensor)), name
    assert header["note"] == [1, "two"]
    twin = network(dtype)
    twin.load_state_dict(state)
    images = torch.ones(2, 1, 5, 5, dtype=dtype)
    assert torch.equal(twin.eval()(images), model.eval()(images))


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_ternary_is_found(tmp_path, scale):
    """Frozen ternary weights take two bits each; float ones, and those still in training, stay float."""
    model = nn.Sequential(network(width=512), nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Linear(7, 7), nn.Linear(7, 7))
    names = ternarize(model, ["0.0", "0.3", "1"], scale=scale)
    freeze(model)
    ternarize(model, ["2"])
    make_stochastic(model, "dropconnect", p=0.5, layers=["0.3"])
    path = str(tmp_path / "weights.safetensors")
    save_weights(path, model)
    state, header = load_weights(path)
    assert header == {"kind": "weights"}
    assert {name.removesuffix(".codes") for name in load_file(path) if name.endswith(".codes")} == {
        "0.0.weight",
        "0.3.parametrizations.weight.original",
        "1.weight",
    }
    for name, tensor in model.state_dict().items():
        assert torch.equal(bits(state[name]), bits(tensor)), name
    save_weights(path, model, ternary=names)
    assert load_weights(path)[0].keys() == state.keys()


def test_a_network_of_others_with_state_and_shared_weights_comes_back(tmp_path):
    snntorch = pytest.importorskip("snntorch")
    model = nn.Sequential(nn.Linear(4, 4), snntorch.Leaky(0.9, init_hidden=True), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    twin = copy_at_rest(model)
    model(torch.ones(2, 4)).sum().backward()  # the neuron holds a potential that is part of a graph
    ternarize(model, ["0", "2"])
    freeze(model)
    save_weights(f"{tmp_path}/weights", model)
    twin.load_state_dict(load_weights(f"{tmp_path}/weights")[0])
    assert all(map(torch.equal, twin.parameters(), model.parameters()))


def test_a_layer_alone_and_nothing_ternary(tmp_path):
    layer = nn.Linear(5, 3)
    ternarize(layer)
    freeze(layer)
    save_weights(tmp_path / "one", layer, ternary=[""], header={})
    state, _ = load_weights(tmp_path / "one")
    assert torch.equal(state["weight"], layer.weight)
    save_weights(tmp_path / "none", network(), header={})
    state, _ = load_weights(tmp_path / "none")
    assert torch.equal(state["4.weight"], network()[4].weight)


@pytest.mark.parametrize(("scale", "scales"), [("layer", 1), ("none", 1), ("channel", 500)])
def test_the_file_is_packed_codes_scales_and_a_small_header(tmp_path, scale, scales):
    layer = nn.Linear(784, 500, bias=False)
    ternarize(layer, scale=scale)
    freeze(layer)
    save_weights(tmp_path / "weights", layer, ternary=[""], header={})
    content = packed_bytes(784 * 500) + 4 * scales
    assert content < (tmp_path / "weights").stat().st_size < content + 500


def test_a_frozen_weight_under_dropconnect_is_packed_too(tmp_path):
    model = network()
    make_stochastic(model, "dropconnect", layers=["3"])
    ternarize(model, ["3"])
    freeze(model)
    save_weights(tmp_path / "weights", model, ternary=["3"], header={})
    twin = network()
    make_stochastic(twin, "dropconnect", layers=["3"])
    twin.load_state_dict(load_weights(tmp_path / "weights")[0])
    assert torch.equal(twin.eval()[3].weight, model.eval()[3].weight)
    save_draws(tmp_path / "draws", [model])
    assert torch.equal(load_draws(tmp_path / "draws", twin)[0][0][3].weight, model[3].weight)
    for file in ("weights", "draws"):
        assert b'"3.parametrizations.weight.original.codes"' in (tmp_path / file).read_bytes()


def test_a_layer_at_two_places_is_packed_by_either_name(tmp_path):
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    ternarize(model)
    freeze(model)
    save_weights(tmp_path / "weights", model, ternary=["0", "2"], header={})
    state, _ = load_weights(tmp_path / "weights")
    assert torch.equal(state["0.weight"], layer.weight)
    assert torch.equal(state["2.weight"], layer.weight)


def saved(tmp_path: Path) -> Path:
    model = network()
    ternarize(model, ["3"])
    freeze(model)
    save_weights(tmp_path / "weights.safetensors", model, ternary=["3"], header={})
    return tmp_path / "weights.safetensors"


def one_line(error: pytest.ExceptionInfo[InputError]) -> bool:
    return "\n" not in str(error.value)


@pytest.mark.parametrize("length", [0, 4, 8, 60, 400, -1])
def test_a_truncated_file_is_refused(tmp_path, length):
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"weights.safetensors: expected a weights file; it is damaged") as error:
        load_weights(path)
    assert one_line(error)


def test_damaged_codes_are_refused(tmp_path):
    path = saved(tmp_path)
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[:8], "little")
    start, end = json.loads(content[8 : 8 + size])["3.weight.codes"]["data_offsets"]
    content[8 + size + start] = 0b10  # a pattern that is no code
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"weights.safetensors: 3.weight: .*got 10 in byte 0; the data are damaged"
    ) as error:
        load_weights(path)
    assert one_line(error)
    assert end - start == packed_bytes(27 * 7)


@pytest.mark.parametrize("missing", ["codes", "scale"])
def test_a_missing_part_is_refused(tmp_path, missing):
    tensors = {"w.codes": torch.zeros(1, dtype=torch.uint8), "w.scale": torch.ones(1, 1)}
    del tensors[f"w.{missing}"]
    write_tensors(tmp_path / "file", tensors, {"kind": "weights", "shapes": {"w": [2, 2]}})
    with pytest.raises(InputError, match=rf"file: expected codes and scale of w; 'w.{missing}' is missing"):
        load_weights(tmp_path / "file")


@pytest.mark.parametrize("shape", [[3, 3], [-1, 4]])
def test_a_wrong_shape_is_refused(tmp_path, shape):
    tensors = {"w.codes": torch.zeros(1, dtype=torch.uint8), "w.scale": torch.ones(1, 1)}
    write_tensors(tmp_path / "file", tensors, {"kind": "weights", "shapes": {"w": shape}})
    with pytest.raises(InputError, match=r"file: w: (packed|shape): expected"):
        load_weights(tmp_path / "file")


def test_a_foreign_file_is_refused(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign")
    with pytest.raises(InputError, match="foreign: expected a weights file of tsnn-uq"):
        load_weights(tmp_path / "foreign")
    (tmp_path / "text").write_text("not a safetensors file\n" * 9)
    with pytest.raises(InputError, match="text: expected a weights file; it is damaged") as error:
        load_weights(tmp_path / "text")
    assert one_line(error)
    with pytest.raises(InputError, match=r"absent: expected a weights file; there is none"):
        load_weights(tmp_path / "absent")


def test_a_header_cannot_hide_what_the_file_is(tmp_path):
    save_weights(tmp_path / "file", network(), header={"kind": "cake", "shapes": {"x": [1]}})
    state, _ = load_weights(tmp_path / "file")
    assert set(state) == set(network().state_dict())


def test_a_layer_that_is_not_ternary_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"^3.weight: expected a ternary weight, one magnitude besides 0 a channel"):
        save_weights(tmp_path / "file", network(), ternary=["3"], header={})
    model = network()
    ternarize(model, ["3"])
    match = "^ternary: expected names of layers with plain"
    with pytest.raises(InputError, match=match.format("3")):
        save_weights(tmp_path / "file", model, ternary=["3"], header={})
    with pytest.raises(InputError, match=match.format("7")):
        save_weights(tmp_path / "file", model, ternary=["7"], header={})
    assert list(tmp_path.iterdir()) == []
