from __future__ import annotations

import random

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, Sampler, Subset, TensorDataset

from tsnn_uq.batches import Indexed, Loaded, device_of, open_data
from tsnn_uq.checks import InputError
from tsnn_uq.constant_input import is_constant, repeat_over_time

COUNT = 7
INPUTS = torch.arange(COUNT * 6.0).reshape(COUNT, 2, 3)
LABELS = torch.arange(COUNT) % 3


class Items(Dataset):
    """Items one by one, as numbers and arrays too."""

    def __init__(self, labelled=True):
        self.labelled = labelled

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        inputs = INPUTS[index].numpy()
        return (inputs, int(LABELS[index])) if self.labelled else inputs


class Together(Items):
    """Gives several items at once, and no single one."""

    def __getitem__(self, index):
        raise AssertionError

    def __getitems__(self, indices):
        return [Items()[index] for index in indices]


class Transformed(TensorDataset):
    """A TensorDataset in name, whose items are others."""

    def __getitem__(self, index):
        inputs, label = super().__getitem__(index)
        return -inputs, label


FORMS = {
    "tensors": lambda: (INPUTS, LABELS),
    "list of tensors": lambda: [INPUTS, LABELS],
    "TensorDataset": lambda: TensorDataset(INPUTS, LABELS),
    "subset of tensors": lambda: Subset(TensorDataset(torch.cat([INPUTS, INPUTS]), LABELS.repeat(2)), range(7, 14)),
    "Dataset": Items,
    "several at once": Together,
    "list of items": lambda: [Items()[index] for index in range(COUNT)],
    "subset": lambda: Subset(Subset(Items(), range(COUNT)), list(range(COUNT))),
    "transformed": lambda: Transformed(-INPUTS, LABELS),
    "DataLoader": lambda: DataLoader(Items(), batch_size=3),
    "DataLoader with workers": lambda: DataLoader(TensorDataset(INPUTS, LABELS), batch_size=3, num_workers=2),
}
INDEXED = [form for form in FORMS if not form.startswith("DataLoader")]


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same_batches(form):
    source = open_data("data", FORMS[form](), labelled=True, finite=True)
    batches = list(source.in_order(3))
    assert source.count == COUNT
    assert [len(batch.labels) for batch in batches] == [3, 3, 1]
    for batch, inputs, labels in zip(batches, INPUTS.split(3), LABELS.split(3), strict=True):
        assert torch.equal(batch.inputs, inputs)
        assert torch.equal(batch.labels, labels)
        assert batch.labels.dtype == torch.int64
    if form in INDEXED:
        assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(COUNT))
    for count in (1, 5, 100):
        assert torch.equal(source.first(count), INPUTS[:count])


@pytest.mark.parametrize(
    ("form", "workers"), [*((form, 0) for form in INDEXED), ("Dataset", 2), ("several at once", 2)]
)
def test_inputs_are_taken_in_any_order(form, workers):
    source = open_data("data", FORMS[form](), workers=workers)
    assert isinstance(source, Indexed)
    orders = [torch.tensor([4, 1]), torch.tensor([6]), torch.tensor([0, 0, 3])]
    batches = list(source.take((order, 0) for order in orders))
    for batch, order in zip(batches, orders, strict=True):
        assert torch.equal(batch.inputs, INPUTS[order])
        assert torch.equal(batch.labels, LABELS[order])
        assert torch.equal(batch.indices, order)


@pytest.mark.parametrize("form", ["tensors", "TensorDataset", "Dataset"])
def test_with_time_first_inputs_are_on_the_second_axis(form):
    data = (INPUTS.transpose(0, 1), LABELS) if form == "tensors" else FORMS[form]()
    source = open_data("data", data, batch_dim=1)
    assert source.count == COUNT
    (batch,) = source.take([(torch.tensor([5, 2]), 0)])
    assert torch.equal(batch.inputs, INPUTS.transpose(0, 1)[:, [5, 2]])
    assert batch.inputs.is_contiguous()
    assert [part.inputs.shape[1] for part in source.in_order(4)] == [4, 3]
    assert source.first(2).shape == (2, 2, 3)


def test_input_that_is_held_over_time_stays_held():
    source = open_data("data", repeat_over_time(INPUTS[:, 0], 5), batch_dim=1)
    (batch,) = source.take([(torch.tensor([5, 2]), 0)])
    assert is_constant(batch.inputs)
    assert torch.equal(batch.inputs, INPUTS[[5, 2], 0].expand(5, -1, -1))
    assert all(is_constant(part.inputs) for part in source.in_order(4))


def test_inputs_without_labels():
    for data in (INPUTS, TensorDataset(INPUTS), Items(labelled=False), DataLoader(Items(labelled=False), batch_size=3)):
        batches = list(open_data("inputs", data).in_order(3))
        assert torch.equal(torch.cat([batch.inputs for batch in batches]), INPUTS)
        assert all(batch.labels is None for batch in batches)
        with pytest.raises(InputError, match=r"inputs: expected \(inputs, labels\) as tensors"):
            list(open_data("inputs", data, labelled=True).in_order(3))


class Random(Items):
    """Items that draw from all global generators."""

    def __getitem__(self, index):
        drawn = torch.tensor([torch.rand(()).item(), random.random(), numpy.random.rand()], dtype=torch.float64)
        return drawn, int(LABELS[index])


def test_random_items_depend_on_the_seed_of_their_batch_alone():
    orders = [(torch.tensor([4, 1]), 10), (torch.tensor([6, 2]), 11), (torch.tensor([4, 1]), 10)]

    def drawn(batches, workers=0):
        return [batch.inputs for batch in open_data("data", Random(), workers=workers).take(batches)]

    first, second, again = drawn(orders)
    assert torch.equal(first, again)
    assert not torch.isin(first, second).any()
    assert first.unique().numel() == 6
    assert torch.equal(drawn(orders[1:])[0], second)  # what was before does not matter
    for batch, expected in zip(drawn(orders, workers=2), (first, second, again), strict=True):
        assert torch.equal(batch, expected)


SHUFFLED = {
    "shuffle": lambda workers: DataLoader(Random(), 3, shuffle=True, num_workers=workers),
    "its generator": lambda workers: DataLoader(
        Random(), 3, shuffle=True, num_workers=workers, generator=torch.Generator()
    ),
    "its sampler's generator": lambda workers: DataLoader(
        Random(), 3, sampler=RandomSampler(Items(), generator=torch.Generator()), num_workers=workers
    ),
    "weighted": lambda workers: DataLoader(
        Random(), 3, sampler=torch.utils.data.WeightedRandomSampler([1.0] * 7, 7), num_workers=workers
    ),
    "listed": lambda workers: DataLoader(Random(), batch_sampler=[[3, 1], [0], [2, 4, 5, 6]], num_workers=workers),
}


@pytest.mark.parametrize(("kind", "workers"), [*((kind, 0) for kind in SHUFFLED), ("shuffle", 2), ("its generator", 2)])
def test_an_epoch_of_a_dataloader_comes_from_the_seed(kind, workers):
    def epoch(loader, seed):
        return [(batch.inputs, batch.labels) for batch in loader.epoch(seed, 0)]

    source, other = (open_data("data", SHUFFLED[kind](workers)) for _ in range(2))
    assert isinstance(source, Loaded)
    first = epoch(source, 1)
    different = epoch(source, 2)
    for again in (epoch(source, 1), epoch(other, 1)):
        assert all(
            torch.equal(*pair) for one, two in zip(first, again, strict=True) for pair in zip(one, two, strict=True)
        )
    assert not any(torch.equal(one[0], two[0]) for one, two in zip(first, different, strict=True))
    assert source.count == COUNT
    assert source.steps == len(first)


def test_a_sampler_is_told_the_epoch():
    class Told(Sampler):
        def set_epoch(self, epoch):
            self.told = epoch

        def __iter__(self):
            yield from range(self.told, COUNT)

        def __len__(self):
            return COUNT

    source = open_data("data", DataLoader(Items(), 3, sampler=Told()))
    for number in range(3):
        labels = torch.cat([batch.labels for batch in source.epoch(0, number)])
        assert torch.equal(labels, LABELS[number:])


@pytest.mark.parametrize("data", [Random, lambda: DataLoader(Random(), 3, shuffle=True)])
def test_global_generators_are_left_as_they_were(data):
    def states():
        return torch.get_rng_state().tolist(), random.getstate(), str(numpy.random.get_state())

    before = states()
    for _ in open_data("data", data()).in_order(2):
        assert states() == before  # also in between
    assert states() == before


class Endless(IterableDataset):
    """Has no length."""

    def __iter__(self):
        yield from Items()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ((INPUTS, LABELS[:3]), r"data: expected as many images as labels.*\[7, 2, 3\].*\[3\]"),
        ((INPUTS, LABELS[:, None]), "data: expected as many images as labels"),
        ((INPUTS[:0], LABELS[:0]), "data: expected as many images as labels"),
        (INPUTS[:0], "data: expected at least one input"),
        ((INPUTS, LABELS, LABELS), r"data: expected inputs or \(inputs, labels\) as tensors"),
        ((INPUTS.numpy(), LABELS), "data: expected .* as tensors"),
        ((INPUTS, LABELS / 2), "labels: expected whole class numbers"),
        ((INPUTS / 0, LABELS), "data: expected finite values"),
        (TensorDataset(INPUTS.where(INPUTS != 9, torch.inf)), "data: expected finite values"),
        ([{"x": INPUTS[0]}], "data: expected inputs .* as tensors"),
        ([], "data: expected at least one input"),
        (3, "data: expected tensors .*, a map-style Dataset"),
        (Endless(), "data: expected tensors .*, a map-style Dataset"),
    ],
)
def test_other_data_are_refused(data, match):
    with pytest.raises(InputError, match=match):
        list(open_data("data", data, finite=True).in_order(2))


def test_a_dataloader_without_a_length_can_be_gone_through_and_no_more():
    source = open_data("data", DataLoader(Endless(), 3))
    assert [len(batch.labels) for batch in source.in_order(1)] == [3, 3, 1]
    for ask in (lambda: source.count, lambda: source.steps):
        with pytest.raises(InputError, match="data: expected a DataLoader with a length"):
            ask()


def test_where_a_network_is():
    assert device_of(nn.Linear(1, 1)).type == "cpu"
    assert device_of(nn.Linear(1, 1, device="meta")).type == "meta"
    assert device_of(nn.BatchNorm1d(1, affine=False, device="meta")).type == "meta"
    assert device_of(nn.ReLU()).type == "cpu"


def test_a_batch_goes_to_a_device():
    batch = next(open_data("data", (INPUTS, LABELS)).in_order(2)).to(torch.device("meta"))
    assert batch.inputs.device.type == batch.labels.device.type == "meta"
    assert isinstance(batch.indices, Tensor)
    assert next(open_data("data", INPUTS).in_order(2)).to(torch.device("meta")).labels is None
