"""Features of any network's hidden layer against runs of our own, however the network handles time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.helpers.peers import PEERS, peer
from tsnn_uq import networks
from tsnn_uq.checks import InputError
from tsnn_uq.detection import hidden_features
from tsnn_uq.neurons import LIF
from tsnn_uq.state import rest
from tsnn_uq.uncertainty import set_generator


@pytest.fixture
def ours() -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    network = networks.build("dropout", sizes=(12, 16, 8, 3), steps=5, p=0.5, generator=generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    return network


def test_the_last_layer_with_weights_reads_rates_of_the_last_hidden_spikes(ours: nn.Sequential) -> None:
    images = 3 * torch.rand(11, 12)
    found = hidden_features(ours, images, batch_size=4)
    ours.eval()
    with torch.no_grad():
        spikes = ours[:-1](images)
        outputs = ours[-1](spikes)
    assert spikes.sum() > 0
    torch.testing.assert_close(found.hidden, spikes.mean(0))
    torch.testing.assert_close(found.logits, outputs.mean(0))
    assert found.labels is None


def test_any_layer_by_name_in_its_own_shape(generator: torch.Generator) -> None:
    network = networks.build("plif", shape=(1, 8, 8), classes=3, hidden=(4, 4, 6), steps=3, generator=generator)
    images = torch.rand(5, 1, 8, 8)
    names = dict(network.named_modules())
    for name, shape in [("1", (4, 8, 8)), ("2.module", (4, 8, 8)), ("3", (4, 8, 8)), ("4", (4, 4, 4)), ("", (3,))]:
        kept: list[Tensor] = []
        handle = names[name].register_forward_hook(lambda _, __, returned, kept=kept: kept.append(returned))
        with torch.no_grad():
            network.eval()(images)
        handle.remove()
        value = kept[0].unflatten(0, (-1, 5)) if name == "2.module" else kept[0]  # inside OverTime steps are folded
        found = hidden_features(network, images, name, batch_size=2).hidden
        assert found.shape == (5, *shape)
        torch.testing.assert_close(found, value.mean(0))


@pytest.mark.parametrize("name", PEERS)
def test_networks_of_other_libraries_in_whatever_way_they_step(name: str) -> None:
    """Spikes of the hidden neurons, taken by hand at each call, [T, N, 16] or a step [N, 16] at a time."""
    model, inputs, options = peer(name, 0.5)
    axis = options.get("batch_dim", 0)
    neuron = next(n for n, module in model.named_modules() if type(module).__name__.startswith(("Leaky", "LIF")))
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, returned: object) -> None:
        value = returned[0] if isinstance(returned, tuple) else returned
        kept.append(value.clone().reshape(-1, 6, 16))

    handle = model.get_submodule(neuron).register_forward_hook(keep)
    with torch.no_grad():
        model.eval()(inputs)
    handle.remove()
    spikes = torch.cat(kept)
    assert len(spikes) == 5
    assert 0 < spikes.mean() < 1
    rest(model)
    for batch_size in (256, 4):  # each batch begins at rest
        found = hidden_features(model, inputs, neuron, batch_size=batch_size, **options)
        torch.testing.assert_close(found.hidden, spikes.mean(0))
        assert found.logits.shape == (6, 3)
    read = hidden_features(model, inputs, **options)  # dropout is off, so the last layer reads the spikes
    torch.testing.assert_close(read.hidden, spikes.mean(0))
    assert axis == 1 or len(kept) == 5


def test_modes_buffers_and_generators_stay(ours: nn.Sequential) -> None:
    network = nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12), ours)
    network.train()
    set_generator(network, torch.Generator().manual_seed(3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    generators = [module.generators for module in network.modules() if hasattr(module, "generators")]
    hidden_features(network, torch.rand(5, 12))
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert generators == [module.generators for module in network.modules() if hasattr(module, "generators")]
    assert not any(module._forward_hooks for module in network.modules())


def test_data_sets_and_loaders_bring_their_labels(ours: nn.Sequential) -> None:
    images, labels = torch.rand(7, 12), torch.arange(7) % 3
    wanted = hidden_features(ours, images)
    for data in ((images, labels), TensorDataset(images, labels), DataLoader(TensorDataset(images, labels), 3)):
        found = hidden_features(ours, data)
        assert torch.equal(found.labels, labels)
        torch.testing.assert_close(found[:2], wanted[:2])


def test_as_many_inputs_as_steps_are_no_riddle() -> None:
    network = nn.Sequential(networks.OverTime(nn.Linear(3, 3)), LIF(), networks.OverTime(nn.Linear(3, 2)))
    inputs = 3 * torch.rand(4, 4, 3)  # [T, N, ...]
    found = hidden_features(network, inputs, "1", batch_dim=1).hidden
    with torch.no_grad():
        torch.testing.assert_close(found, network[:2](inputs).mean(0))


def test_a_layer_that_writes_on_what_it_is_given_changes_nothing() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 2))
    inputs = torch.randn(6, 4)
    with torch.no_grad():
        torch.testing.assert_close(hidden_features(network, inputs, "0").hidden, network[0](inputs))


def test_rate_coding_draws_from_the_seed(generator: torch.Generator) -> None:
    network = networks.build("dropout", sizes=(12, 8, 3), coding="rate", generator=generator)
    images = torch.rand(6, 12)
    one, same, other = (hidden_features(network, images, "0", seed=seed).hidden for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_what_does_not_fit_is_refused(ours: nn.Sequential) -> None:
    images = torch.rand(3, 12)
    with pytest.raises(InputError, match="layer: expected one of"):
        hidden_features(ours, images, "last")
    with pytest.raises(InputError, match="no layer of the network has weights"):
        hidden_features(nn.Sequential(nn.Identity()), images)
    with pytest.raises(InputError, match="batch_size"):
        hidden_features(ours, images, batch_size=0)

    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(12, 3), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with pytest.raises(InputError, match="which it does not"):
        hidden_features(Skips(), images, "unused")
    with pytest.raises(InputError, match="which it does not"):
        hidden_features(Skips(), images)
    mixed = nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (-1, 12)), nn.Linear(12, 2))
    assert hidden_features(mixed, images, "1").hidden.shape == (3, 12)
    with pytest.raises(InputError, match="with time first"):
        hidden_features(nn.Sequential(nn.Linear(12, 2), _Rows()), images, "1.inner")


class _Rows(nn.Module):
    """Gives a layer something without a batch axis."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        self.inner(x.sum(0, keepdim=True))
        return x
