"""Prediction over a Dataset or a DataLoader is prediction over one tensor of the same inputs, in bounded memory."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tests.helpers.monte_carlo import images, plain_network, seeded, spiking
from tests.helpers.peers import PEERS, peer
from tests.helpers.virtual_device import virtual_device
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.recalibration import TemperatureScaling
from tsnn_uq.uncertainty import Labelled, mc_moments, mc_predict

LABELS = torch.arange(7) % 5


class Items(Dataset):
    """Items one by one; counts how often each is loaded, and how many are alive at most."""

    def __init__(self, inputs: Tensor, labels: Tensor | None = LABELS, dim: int = 0) -> None:
        self.inputs, self.labels, self.dim = inputs, labels, dim
        self.alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.most, self.loaded = 0, [0] * len(self)

    def __len__(self) -> int:
        return self.inputs.shape[self.dim]

    def __getitem__(self, index: int) -> object:
        self.loaded[index] += 1
        item = self.inputs.select(self.dim, index).clone()
        self.alive.add(item)
        self.most = max(self.most, len(self.alive))
        return item if self.labels is None else (item, int(self.labels[index]))


class Streamed(IterableDataset):
    """Has no length."""

    def __iter__(self):
        yield from zip(images(), LABELS.tolist(), strict=True)


FORMS = {
    "pair": lambda: (images(), LABELS),
    "TensorDataset": lambda: TensorDataset(images(), LABELS),
    "Dataset": lambda: Items(images()),
    **{f"DataLoader by {size}": lambda size=size: DataLoader(Items(images()), size) for size in (1, 2, 3, 5, 100)},
    "two workers": lambda: DataLoader(Items(images()), 2, num_workers=2),
    "no length": lambda: DataLoader(Streamed(), 2),
}
NETWORKS = {
    "dropout": spiking,
    "dropconnect": lambda: spiking("dropconnect"),
    "redrawn": lambda: spiking(mask="per-step"),
    "torch": lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 5)),
    "ensemble": lambda: [spiking(), spiking("dropconnect")],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_are_those_for_one_tensor_bit_for_bit(name, form):
    if name not in ("dropout", "ensemble") and form not in ("Dataset", "DataLoader by 2"):
        return
    model, options = NETWORKS[name](), {"samples": 4, "batch_size": 3}
    whole = mc_predict(model, images(), generator=seeded(1), **options)
    found = mc_predict(model, FORMS[form](), generator=seeded(1), **options)
    assert isinstance(found, Labelled)
    assert torch.equal(found.predictions, whole)
    assert torch.equal(found.labels, LABELS)
    moments, labels = mc_moments(model, FORMS[form](), generator=seeded(1), **options)
    expected = mc_moments(model, images(), generator=seeded(1), **options)
    assert all(torch.equal(*pair) for pair in zip(vars(moments).values(), vars(expected).values(), strict=True))
    assert torch.equal(labels, LABELS)


def test_in_another_order_a_dropconnect_sample_is_the_same_network():
    order = torch.tensor([4, 1, 6, 0, 3, 2, 5])
    loader = DataLoader(Items(images()), 3, sampler=order.tolist())
    for family, same in (("dropconnect", True), ("dropout", False)):
        options = {"samples": 4, "batch_size": 2}
        whole = mc_predict(spiking(family), images(), generator=seeded(1), **options)
        probs, labels = mc_predict(spiking(family), loader, generator=seeded(1), **options)
        assert torch.equal(labels, LABELS[order])
        assert torch.equal(probs, whole[:, order]) is same


@pytest.mark.parametrize("name", PEERS)
def test_networks_of_other_libraries(name):
    network, inputs, options = peer(name, 0.5)
    dim = options.get("batch_dim", 0)
    options |= {"samples": 4, "batch_size": 4}
    whole = mc_predict(network, inputs, generator=seeded(1), **options)
    data = Items(inputs, None, dim)
    probs, labels = mc_predict(network, data, generator=seeded(1), **options)
    assert torch.equal(probs, whole)
    assert labels is None
    loader = DataLoader(data, 5, collate_fn=lambda items: torch.stack(items, dim))
    assert torch.equal(mc_predict(network, loader, generator=seeded(1), **options).predictions, whole)


def test_predictions_over_time():
    options = {"samples": 4, "batch_size": 3, "per_step": True}
    whole = mc_predict(spiking(), images(), generator=seeded(1), **options)
    assert torch.equal(mc_predict(spiking(), Items(images()), generator=seeded(1), **options).predictions, whole)


def test_inputs_are_loaded_once_and_let_go():
    """Also for several networks; of a DataLoader no more than a block and a batch."""
    inputs = images(1).expand(60, -1, -1, -1)
    networks = [spiking(), spiking("dropconnect"), spiking()]
    for predict in (mc_predict, mc_moments):
        for wrap in (lambda data: data, lambda data: DataLoader(data, 5)):
            data = Items(inputs, torch.zeros(60, dtype=torch.long))
            predict(networks, wrap(data), samples=6, generator=seeded(1), batch_size=4)
            assert data.loaded == [1] * 60
            assert data.most <= 9


def test_progress_counts_the_inputs_of_a_dataloader_too():
    done: list[int] = []
    loader = DataLoader(Items(images()), 2)
    mc_predict(spiking(), loader, samples=2, generator=seeded(1), batch_size=3, progress=done.append)
    assert done == [3, 6, 7]


def test_metrics_and_temperatures_take_predictions_and_labels_as_they_come():
    found = mc_predict(spiking(), Items(images()), samples=8, generator=seeded(1))
    scaling, again = TemperatureScaling().fit(*found), TemperatureScaling().fit(found.predictions, LABELS)
    assert scaling.temperature == again.temperature
    moments, labels = mc_moments(spiking(), Items(images()), samples=8, generator=seeded(1))
    torch.testing.assert_close(
        metrics.brier_score(moments.mean, labels), metrics.brier_score(found.predictions.double().mean(0), LABELS)
    )


def test_a_network_that_leaves_out_the_batch_axis_of_one_input():
    """The last block has one input, and the layers before the first random one give it another shape."""

    class Squeeze(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[0] if len(x) == 1 else x

    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(-1, 12)

    network = nn.Sequential(Squeeze(), nn.Flatten(-3), nn.Dropout(0.5), Pooled(), nn.Linear(12, 5))
    probs = mc_predict(network, images(), samples=3, generator=seeded(1), batch_size=3)
    assert probs.shape == (3, 7, 5)


def test_networks_that_share_a_layer_draw_for_themselves():
    """Dropout of torch whose mask is kept: in a shared layer, and in one network given twice."""
    shared = nn.Dropout(0.5)
    networks = [nn.Sequential(nn.Linear(4, 6), shared, nn.Linear(6, 3)) for _ in range(2)]
    inputs, options = torch.rand(6, 4, generator=seeded(0)), {"mask": "fixed", "batch_size": 4}
    for model in (networks, [networks[0]] * 2):
        generator = seeded(1)
        one_by_one = [mc_predict(one, inputs, samples=3, generator=generator, **options) for one in model]
        assert torch.equal(mc_predict(model, inputs, samples=6, generator=seeded(1), **options), torch.cat(one_by_one))
        assert "forward" not in vars(shared)


def test_inputs_are_brought_where_the_network_is():
    inputs, labels = torch.rand(6, 4, generator=seeded(0)), torch.arange(6) % 3
    whole = mc_predict(plain_network(), inputs, samples=3, generator=seeded(1))
    with virtual_device() as device:
        probs, there = mc_predict(
            plain_network().to(device), DataLoader(TensorDataset(inputs, labels), 4), samples=3, generator=seeded(1)
        )
        assert probs.device == there.device == device
        assert torch.equal(probs.cpu(), whole)


@pytest.mark.parametrize(
    ("inputs", "match"),
    [
        (
            DataLoader(Items(images(), None), 3, collate_fn=lambda items: {"x": items}),
            "inputs: expected inputs .* dict",
        ),
        (DataLoader(Items(images()), 3, sampler=[]), "inputs: expected at least one input"),
        ([], "inputs: expected at least one input"),
        (Streamed(), "inputs: expected tensors .* or a DataLoader"),
        (
            DataLoader([0, 1], None, collate_fn=lambda index: (images(), LABELS) if index else images()),
            "labels: expected them in all batches, or in none",
        ),
    ],
)
@pytest.mark.parametrize("batch_size", [7, 14])
def test_other_data_are_refused(inputs, match, batch_size):
    with pytest.raises(InputError, match=match):
        mc_predict(spiking(), inputs, samples=2, generator=seeded(1), batch_size=batch_size)
