from __future__ import annotations

from collections import deque
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.uncertainty import (
    DropConnectLinear,
    Dropout,
    only_stochastic_layers_train,
    set_generator,
    stochastic_layers,
)

TORCH_DROPOUTS = [
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
]


def test_ours_and_all_of_torch_are_found_wherever_they_are():
    network = nn.Sequential(
        Coding("rate"),
        Coding("latency"),
        nn.Linear(2, 2),
        nn.Sequential(DropConnectLinear(2, 2), nn.BatchNorm1d(2), Dropout()),
        Dropout(0.0),
        *[kind(0.1) for kind in TORCH_DROPOUTS],
        *[kind(0.0) for kind in TORCH_DROPOUTS],
    )
    assert list(stochastic_layers(network)) == ["0", "3.0", "3.2", *map(str, range(5, 11))]


class Block(nn.Module):
    """Draws by itself while in training mode, and has a child that must not be."""

    def __init__(self) -> None:
        super().__init__()
        self.p = 0.5
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(self.norm(x), self.p, self.training)


class DropBlock(Block):
    pass


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


def test_nothing_but_stochastic_layers_trains():
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), DropBlock(), Dropout()).train()
    with only_stochastic_layers_train(network) as layers:
        assert list(layers) == ["1", "2", "3"]
        assert modes(network) == {"": False, "0": False, "1": True, "2": True, "2.norm": False, "3": True}


class Recorder(nn.Module):
    """Keeps state in all the places in which modules do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("later", None)
        self.drop = Dropout()
        self.mem = torch.zeros(2)
        self.records: list[Tensor] = []
        self.table = {"v": torch.zeros(2), "t": 0}
        self.plain = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.later = torch.ones(3)
        self.mem.add_(1)
        self.records.append(x)
        self.table["v"].add_(1)
        self.table["t"] += 1
        self.plain += 1
        self.unknown = "new"
        self.drop.generators = ()
        return x


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_exactly_as_it_was(fails, generator):
    model = Recorder().train()
    model.drop.eval()
    set_generator(model, generator)
    identities = {name: id(value) for name, value in vars(model).items()}
    mem, count = model.mem, model.count

    def use() -> None:
        with only_stochastic_layers_train(model):
            model(torch.zeros(1))
            assert (model.count.item(), model.mem[0].item(), model.plain) == (1, 1, 1)
            if fails:
                raise RuntimeError("in the middle")

    if fails:
        with pytest.raises(RuntimeError, match="in the middle"):
            use()
    else:
        use()
    assert modes(model) == {"": True, "drop": False}
    assert {name: id(value) for name, value in vars(model).items()} == identities
    assert model.mem is mem
    assert model.count is count
    assert (count.item(), mem.tolist(), model.later) == (0, [0, 0], None)
    assert model.records == []
    assert (model.table["v"].tolist(), model.table["t"], model.plain) == ([0, 0], 0, 0)
    assert model.drop.generators == (generator,)
    assert not hasattr(model, "unknown")


class Nested(nn.Module):
    """Keeps state wherever else it can be kept."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.drop = nn.Dropout()
        self.pair = State(torch.zeros(2), torch.zeros(2))
        self.deep = {"a": [(torch.zeros(2), 1)], "b": {"c": torch.zeros(2)}}
        self.recent = deque([torch.zeros(2)], maxlen=3)
        self.alias = self.pair.v
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        for tensor in (self.pair.v, self.pair.i, self.deep["a"][0][0], self.deep["b"]["c"], self.recent[0]):
            tensor.add_(1)
        assert self.alias is self.pair.v
        self.deep["b"]["d"] = x
        self.deep["a"].append((x, 2))
        self.recent.append(x)
        return x + torch.rand(x.shape, generator=self.generator)


class State(NamedTuple):
    v: Tensor
    i: Tensor


def test_state_is_left_as_it_was_however_it_is_nested(generator):
    network = nn.Sequential(Nested(generator), nn.Sequential(Nested(generator)))
    kept, state = network[0], generator.get_state()
    pair, deep, recent = kept.pair, kept.deep, kept.recent
    with only_stochastic_layers_train(network):
        assert network[1][0].generator is kept.generator  # what is shared stays shared
        network(torch.zeros(1))
        assert kept.pair.v.tolist() == [1, 1]
        assert len(kept.recent) == 2
    assert (kept.pair is pair, kept.deep is deep, kept.recent is recent) == (True, True, True)
    zeros = [pair.v, pair.i, deep["a"][0][0], deep["b"]["c"], recent[0]]
    assert torch.cat(zeros).tolist() == [0] * 10
    assert (len(deep["a"]), list(deep["b"]), len(recent), recent.maxlen) == (1, ["c"], 1, 3)
    assert kept.generator is generator
    assert torch.equal(generator.get_state(), state)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_fused_transformer_layers_run_their_parts():
    enabled = torch.backends.mha.get_fastpath_enabled()
    network = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, dropout=0.5, batch_first=True), 2).eval()
    inputs, padding = torch.rand(3, 4, 8), torch.tensor([[False] * 4, [False] * 3 + [True], [False] * 4])
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        with only_stochastic_layers_train(network):
            first, second = (network(inputs, src_key_padding_mask=padding) for _ in range(2))
            assert (first != second).any(-1).all()
        assert torch.equal(*(network(inputs, src_key_padding_mask=padding) for _ in range(2)))
    assert torch.backends.mha.get_fastpath_enabled() == enabled
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with only_stochastic_layers_train(network):
            pass
        assert not torch.backends.mha.get_fastpath_enabled()  # it was not on before
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def test_parameters_are_not_copied():
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    weight = network[0].weight
    with only_stochastic_layers_train(network):
        assert network[0].weight is weight


def test_hooks_keep_working_and_can_be_removed_afterwards():
    network, calls = nn.Sequential(nn.Linear(2, 2), nn.Dropout()), []
    handle = network[0].register_forward_hook(lambda *_: calls.append(1))
    with only_stochastic_layers_train(network):
        network(torch.zeros(1, 2))
    handle.remove()
    network(torch.zeros(1, 2))
    assert len(calls) == 1


class Functional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.5, self.training)


@pytest.mark.parametrize(
    "model", [nn.Linear(2, 2), nn.Sequential(Dropout(0.0), nn.Dropout(0.0), Coding("constant")), Functional()]
)
def test_a_model_in_which_nothing_is_random_is_refused(model):
    match = "^model: expected a stochastic layer"
    with pytest.raises(InputError, match=match), only_stochastic_layers_train(model):
        pass
