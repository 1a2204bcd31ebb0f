from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.helpers.training import STEPS, TINY, images, method, mlp, network, same
from tsnn_uq.checks import InputError
from tsnn_uq.networks import FAMILIES
from tsnn_uq.readout import logits
from tsnn_uq.training import (
    METHODS,
    Direct,
    EntropyRegularizer,
    FitSettings,
    Float,
    Regularizer,
    VarianceRegularizer,
    accuracy,
    fit,
    make_regularizer,
)
from tsnn_uq.training.schedules import one_cycle, warmed_up

REGULARIZED = FitSettings(epochs=2, batch_size=6, learning_rate=0.05, regularizer_weight=0.5)
WARMING_UP = replace(REGULARIZED, regularizer_warm_up=0.6)
SUM = "variance:5+outliers:0.5+membrane:0.1"


class Stop(Exception):
    """An interruption."""


def stop_at(step):
    def progress(done, total):
        if done == step:
            raise Stop

    return progress


# Every way to train, as (network, method, regularizer, settings) afresh at each call; the methods that keep most
# between steps with every family, the others with one.
WAYS = {
    **{
        f"{family}-{name}": (lambda family=family, name=name: (network(family), method(name), None, TINY))
        for family in FAMILIES
        for name in (METHODS if family == "dropout" else ("indirect", "distill"))
    },
    "learned": lambda: (network(), Direct(rule="learned"), None, TINY),
    "regularized": lambda: (network("dropconnect"), method("indirect"), VarianceRegularizer(), REGULARIZED),
    "rate-coded": lambda: (network(coding="rate"), Float(), VarianceRegularizer(), REGULARIZED),
    "plain": lambda: (mlp(), Direct(), None, TINY),
    "sum": lambda: (network(), Direct(), make_regularizer(SUM), WARMING_UP),
    "sum-plif": lambda: (network("plif"), Direct(), make_regularizer(SUM), WARMING_UP),
    "sum-dropconnect": lambda: (network("dropconnect"), method("distill"), make_regularizer(SUM), WARMING_UP),
    "gap": lambda: (network("plif"), Direct(), make_regularizer("quantization-gap"), REGULARIZED),
    "gap-plain": lambda: (mlp(), Direct(), make_regularizer("quantization-gap:1+outliers:1"), REGULARIZED),
}


def trained(way, seed=0, **options):
    model, how, regularizer, settings = WAYS[way]()
    history = fit(model, images(), seed=seed, method=how, regularizer=regularizer, settings=settings, **options)
    return model, history


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupted_training_ends_with_the_same_bits(tmp_path, way):
    whole, history = trained(way, validation=images(5, seed=1))
    for step in (1, STEPS // 2, STEPS):
        options = {"validation": images(5, seed=1), "checkpoint": tmp_path / f"{step}", "checkpoint_seconds": 0}
        with pytest.raises(Stop):
            trained(way, progress=stop_at(step), **options)
        if step + 2 <= STEPS:  # and once more
            with pytest.raises(Stop):
                trained(way, progress=stop_at(step + 2), **options)
        resumed, again = trained(way, **options)
        assert same(whole, resumed)
        assert (history.loss, history.validation_accuracy) == (again.loss, again.validation_accuracy)


@pytest.mark.parametrize("way", WAYS)
def test_the_seed_decides_all_and_nothing_else_is_touched(way):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first, _ = trained(way)
        torch.manual_seed(2)
        state = torch.get_rng_state()
        second, _ = trained(way, validation=images(7))  # neither do consumers of randomness shift each other
        assert torch.equal(torch.get_rng_state(), state)
    assert same(first, second)
    other, _ = trained(way, seed=1)
    assert not same(first, other)


def test_history_has_an_entry_an_epoch():
    losses, calls = [], []

    class Recorded(Float):
        def loss(self, mc_logits, target, indices):
            losses.append(super().loss(mc_logits, target, indices).item())
            return super().loss(mc_logits, target, indices)

    model = network()
    progress = lambda *call: calls.append(call)  # noqa: E731
    validation = images(9, seed=1)
    history = fit(model, images(), seed=0, method=Recorded(), settings=TINY, validation=validation, progress=progress)
    assert history.loss == pytest.approx([sum(losses[:3]) / 3, sum(losses[3:]) / 3], rel=1e-12)
    assert len(history.validation_accuracy) == 2
    assert history.validation_accuracy[-1] == accuracy(model, *validation)
    assert history.seconds > 0
    assert calls == [(step, STEPS) for step in range(1, STEPS + 1)]
    assert not model.training


@pytest.mark.parametrize("build", [network, mlp])
def test_it_learns(build):
    labels = torch.arange(30) % 3
    pixels = torch.zeros(30, 1, 4, 4)
    pixels[torch.arange(30), 0, labels] = 1.0  # class k has row k lit
    model = build()
    fit(model, (pixels, labels), seed=0, settings=FitSettings(epochs=30, batch_size=10, learning_rate=0.02))
    assert accuracy(model, pixels, labels) == 1.0


def test_each_input_is_seen_once_an_epoch_in_an_order_of_its_own():
    seen = []

    class Recorded(Float):
        def loss(self, mc_logits, target, indices):
            seen.extend(indices.tolist())
            return super().loss(mc_logits, target, indices)

    fit(network(), images(), seed=0, method=Recorded(), settings=TINY)
    assert sorted(seen[:16]) == sorted(seen[16:]) == list(range(16))
    assert seen[:16] != seen[16:]


def test_two_passes_are_one_batch_with_two_masks():
    batches, outputs = [], []
    model = network("dropconnect", p=0.5)
    model[2].register_forward_hook(lambda module, inputs, output: outputs.append(output.detach().clone()))
    model.register_forward_hook(lambda module, inputs, output: batches.append(len(inputs[0])))
    pixels = images(1)[0].expand(6, -1, -1, -1)
    data = (pixels, torch.zeros(6, dtype=torch.long))
    settings = FitSettings(epochs=1, batch_size=6, regularizer_weight=1.0)
    fit(model, data, seed=0, regularizer=VarianceRegularizer(share=1.0), settings=settings)
    assert batches == [12]
    first, second = outputs[0].unflatten(1, (2, 6)).unbind(1)
    assert (first == first[:, :1]).all()  # one mask for all inputs of a pass
    assert (second == second[:, :1]).all()
    assert not torch.equal(first, second)


def test_torchs_own_dropout_draws_anew_each_step():
    masks = []
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
    model[1].register_forward_hook(lambda module, inputs, output: masks.append(output != 0))
    pixels, labels = images()
    fit(model, (torch.ones_like(pixels), labels), seed=0, settings=FitSettings(epochs=3, batch_size=16))
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])


def test_a_regularizer_of_ones_own_is_added_with_its_weight():
    class One(Regularizer):
        def __call__(self, mc_logits, target):
            assert mc_logits.shape[0] == 1
            return 1 + 0 * mc_logits.sum()

    plain, regularized = (
        fit(network(), images(), seed=0, regularizer=regularizer, settings=settings).loss
        for regularizer, settings in ((None, TINY), (One(), REGULARIZED))
    )
    assert regularized == pytest.approx([value + 0.5 for value in plain])


def test_images_of_several_passes_count_as_often_in_the_loss():
    calls = []

    class Recorded(Float):
        def loss(self, mc_logits, target, indices):
            calls.append((list(mc_logits.shape), target, indices))
            return super().loss(mc_logits, target, indices)

    pixels, labels = images()
    fit(network(), (pixels, labels), seed=0, method=Recorded(), regularizer=VarianceRegularizer(), settings=REGULARIZED)
    assert [shape for shape, _, _ in calls[:3]] == [[1, 8, 3], [1, 8, 3], [1, 6, 3]]
    for _, target, indices in calls:
        assert torch.equal(target, labels[indices])
        counts = indices.bincount()
        assert counts[counts > 0].tolist().count(2) == 2  # a quarter of six, rounded so that the groups are equal


def test_the_weight_grows_over_the_warm_up():
    class One(Regularizer):
        def term(self, forward):
            return 1 + 0 * forward.mc_logits.sum()

    plain, warming = (
        fit(network(), images(), seed=0, regularizer=regularizer, settings=settings).loss
        for regularizer, settings in ((None, TINY), (One(), WARMING_UP))
    )
    factors = [min(1, step / STEPS / 0.6) for step in range(STEPS)]
    expected = [plain[0] + 0.5 * sum(factors[:3]) / 3, plain[1] + 0.5 * sum(factors[3:]) / 3]
    assert warming == pytest.approx(expected)
    assert [warmed_up(progress, 0.0) for progress in (0.0, 1.0)] == [1, 1]


def test_afterwards_a_batch_of_any_size_fits():
    model, _ = trained("regularized")
    assert logits(model.train()(images(3)[0])).shape == (3, 3)


def test_the_learning_rate_is_one_cycle_as_torch_has_it():
    """Of n steps torch has the peak at step 0.3 n - 1 and the end at n - 1; ours come at 0.3 n and n."""
    n = 50
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=n, pct_start=0.3, div_factor=25, final_div_factor=1e15, cycle_momentum=False
    )
    for step in range(n):
        theirs = optimizer.param_groups[0]["lr"]
        assert one_cycle(step / (n - 1), warm_up=(0.3 * n - 1) / (n - 1)) == pytest.approx(theirs, abs=1e-12)
        steepest = 0.96 * math.pi / 2 / 0.3
        assert abs(one_cycle(step / n) - theirs) <= steepest / n  # so what is used is at most a step behind
        optimizer.step()
        if step < n - 1:
            schedule.step()


def test_the_optimizer_is_given_that_rate_and_the_decay():
    """With a gradient of zero, AdamW does nothing but shrink the weights by 1 - rate * decay a step."""

    class Zero(Float):
        def loss(self, mc_logits, target, indices):
            return 0 * mc_logits.sum()

    model = network()
    before = model[-1].weight.detach().double()
    fit(model, images(), seed=0, method=Zero(), settings=FitSettings(2, 6, learning_rate=0.05, weight_decay=0.5))
    factor = math.prod(1 - 0.5 * 0.05 * one_cycle(step / STEPS) for step in range(STEPS))
    torch.testing.assert_close(model[-1].weight.double(), factor * before, rtol=1e-5, atol=0)


def test_accuracy_counts_right_answers_without_dropout(generator):
    model = network(p=0.5).train()
    pixels, labels = images(11)
    right = 0
    for pixel, label in zip(pixels, labels, strict=True):
        right += int(logits(model.eval()(pixel[None])).argmax() == label)
    model.train()
    assert accuracy(model, pixels, labels, batch_size=4) == right / 11
    assert model.training


class Transposed(nn.Module):
    """Gives one row of logits whatever comes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, inputs):
        return self.layer(inputs.flatten(1))[:1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(train=(torch.zeros(0, 1, 4, 4), torch.zeros(0))), "train: expected as many images as labels"),
        (
            dict(train=(images()[0], images(15)[1])),
            r"train: expected as many images as labels.*\[16, 1, 4, 4\].*\[15\]",
        ),
        (dict(train=(images()[0] / 0, images()[1])), "train: expected finite values"),
        (dict(train=(images()[0], images()[1] + 1)), "labels: expected labels from 0 to 2"),
        (dict(train=(images()[0], images()[1] - 1)), "labels: expected labels from 0 to 2"),
        (dict(train=(images()[0], images()[1] / 2)), "labels: expected whole class numbers"),
        (dict(train=(torch.zeros(16, 9), images()[1])), r"inputs: expected shape \[T, N, 16\]"),
        (dict(model=Transposed()), r"model: expected outputs of shape \[T, 6, C\] or \[6, C\]"),
        (dict(validation=images(0)), "images: expected as many images as labels"),
        (dict(checkpoint_seconds=-1.0), "checkpoint_seconds: expected a number of at least 0"),
        (dict(checkpoint_seconds=math.nan), "checkpoint_seconds: expected a number of at least 0"),
        (dict(settings=REGULARIZED), "regularizer_weight: expected a number above 0 with a regularizer and 0 without"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(change, match):
    call = {"model": network(), "train": images(), "settings": TINY} | change
    with pytest.raises(InputError, match=match) as error:
        fit(call.pop("model"), call.pop("train"), seed=0, **call)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (dict(epochs=0), "epochs: expected a positive whole number"),
        (dict(batch_size=1.5), "batch_size: expected a positive whole number"),
        (dict(learning_rate=math.nan), "learning_rate: expected a positive number"),
        (dict(weight_decay=-0.1), "weight_decay: expected 0 <= value <= 1"),
        (dict(regularizer_warm_up=2.0), "regularizer_warm_up: expected 0 <= value <= 1"),
        (dict(regularizer_weight=-1), "regularizer_weight: expected a number of at least 0"),
        (dict(regularizer_weight=math.nan), "regularizer_weight: expected a number of at least 0"),
    ],
)
def test_bad_settings_are_refused_when_made(settings, match):
    with pytest.raises(InputError, match=match):
        FitSettings(**settings)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training(tmp_path, value):
    class Bad(Float):
        def loss(self, mc_logits, target, indices):
            return super().loss(mc_logits, target, indices) * value

    match = rf"loss: expected a finite number; got {value} at step 0; lower the learning rate"
    with pytest.raises(InputError, match=match):
        fit(
            network(), images(), seed=0, method=Bad(), settings=TINY, checkpoint=tmp_path / "file", checkpoint_seconds=0
        )
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_training_leaves_no_checkpoint_in_the_way_of_another_learning_rate(tmp_path):
    class LateBad(Float):
        def loss(self, mc_logits, target, indices):
            bad = math.nan if (tmp_path / "file").exists() else 1
            return super().loss(mc_logits, target, indices) * bad

    call = dict(train=images(), seed=0, checkpoint=tmp_path / "file", checkpoint_seconds=0)
    with pytest.raises(InputError, match="loss: expected a finite number; got nan at step 1"):
        fit(network(), method=LateBad(), settings=TINY, **call)
    fit(network(), settings=replace(TINY, learning_rate=1e-4), **call)


@pytest.mark.parametrize(
    "change",
    [
        dict(seed=1),
        dict(method=Direct()),
        dict(settings=FitSettings(epochs=3, batch_size=6, learning_rate=0.05)),
        dict(regularizer=VarianceRegularizer(), settings=REGULARIZED),
        dict(train=images(17)),
        dict(fingerprint={"family": ("dropconnect",)}),
    ],
)
def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path, change):
    call = {"train": images(), "seed": 0, "settings": TINY, "fingerprint": {"family": ("dropout",)}}
    fit(network(), checkpoint=tmp_path / "file", checkpoint_seconds=0, **call)
    fit(network(), checkpoint=tmp_path / "file", **call)
    with pytest.raises(InputError, match="file: expected a checkpoint of the same"):
        fit(network(), checkpoint=tmp_path / "file", **(call | change))


def test_a_checkpoint_belongs_to_its_regularizer(tmp_path):
    call = {"seed": 0, "settings": REGULARIZED, "checkpoint": tmp_path / "file", "checkpoint_seconds": 0}
    fit(network(), images(), regularizer=VarianceRegularizer(), **call)
    for other in (EntropyRegularizer(), VarianceRegularizer(share=0.5)):
        with pytest.raises(InputError, match="file: expected a checkpoint of the same"):
            fit(network(), images(), regularizer=other, **call)


def test_checkpoints_come_no_more_often_than_wanted(tmp_path):
    path = tmp_path / "file"
    fit(network(), images(), seed=0, settings=TINY, checkpoint=path, checkpoint_seconds=3600)
    assert not path.exists()
    fit(network(), images(), seed=0, settings=TINY, checkpoint=path, checkpoint_seconds=0)
    assert path.exists()
