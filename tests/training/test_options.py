"""Optimizers, schedules, clipping, precision, and who is told what is measured."""

from __future__ import annotations

import builtins
import csv
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.helpers.training import STEPS, TINY, images, method, mlp, network, same
from tsnn_uq.checks import InputError
from tsnn_uq.seeds import generator_for
from tsnn_uq.training import Callback, CsvLog, Direct, FitSettings, Float, History, TensorBoardLog, fit
from tsnn_uq.training.callbacks import listening
from tsnn_uq.training.schedules import one_cycle


class Stop(Exception):
    """An interruption."""


def stop_at(step):
    def progress(done, total):
        if done == step:
            raise Stop

    return progress


OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, amsgrad=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, centered=True, momentum=0.5),
    "nadam": lambda parameters: torch.optim.NAdam(parameters, lr=0.01),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.01),
    "rprop": lambda parameters: torch.optim.Rprop(parameters, lr=0.01),
    "asgd": lambda parameters: torch.optim.ASGD(parameters, lr=0.01),
    "groups": lambda parameters: torch.optim.SGD(
        [{"params": [parameter], "lr": 0.01 * (k + 1)} for k, parameter in enumerate(parameters)], lr=1.0, momentum=0.5
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_interrupted_training_ends_with_the_same_bits_with_any_optimizer(tmp_path, name):
    def run(stop=None, **options):
        model = mlp()
        options |= {"optimizer": OPTIMIZERS[name], "settings": replace(TINY, clip_norm=0.5)}
        history = fit(model, images(), seed=0, method=Direct(), progress=stop_at(stop), **options)
        return model, history

    whole, history = run()
    for step in (1, 4):
        options = {"checkpoint": tmp_path / f"{step}", "checkpoint_seconds": 0}
        with pytest.raises(Stop):
            run(step, **options)
        resumed, again = run(**options)
        assert same(whole, resumed)
        assert history.loss == again.loss


def halved(progress):
    return 1.0 if progress < 0.5 else 0.5


def test_optimizer_schedule_and_clipping_are_those_of_a_plain_loop():
    model, plain = (network(p=0.0) for _ in range(2))
    norms = []

    class Noted(Callback):
        def after_step(self, step, measured):
            norms.append(measured["gradient_norm"])

    options = {"optimizer": OPTIMIZERS["momentum"], "schedule": halved, "callbacks": [Noted()]}
    fit(model, images(), seed=0, settings=replace(TINY, clip_norm=0.05), **options)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    expected = []
    pixels, labels = images()
    for step in range(STEPS):
        order = torch.randperm(16, generator=generator_for(0, "order", step // 3)).split(6)[step % 3]
        optimizer.param_groups[0]["lr"] = 0.1 if step < 3 else 0.05
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain.train()(pixels[order]).mean(0), labels[order]).backward()
        norm = math.sqrt(sum(parameter.grad.square().sum().item() for parameter in plain.parameters()))
        expected.append(norm)
        for parameter in plain.parameters():
            parameter.grad *= min(1.0, 0.05 / norm)
        optimizer.step()
    assert norms == pytest.approx(expected, rel=1e-5)
    assert max(norms) > 0.05
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_rate_of_each_group_is_its_own_times_the_schedule():
    rates = []

    class Noted(Float):
        def after_step(self, model, progress):
            rates.append([group["lr"] for group in made[0].param_groups])

    made = []

    def optimizer(parameters):
        made.append(OPTIMIZERS["groups"](parameters))
        return made[0]

    fit(network(), images(), seed=0, settings=TINY, method=Noted(), optimizer=optimizer)
    groups = len(rates[0])
    expected = [[0.01 * (k + 1) * one_cycle(step / STEPS) for k in range(groups)] for step in range(STEPS)]
    assert rates == expected


def test_the_default_optimizer_is_adamw_with_the_settings():
    one, other = network(), network()
    fit(one, images(), seed=0, settings=TINY)
    adamw = lambda parameters: torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.01, fused=True)  # noqa: E731
    fit(other, images(), seed=0, settings=TINY, optimizer=adamw)
    assert same(one, other)


@pytest.mark.parametrize(
    "change", [{"optimizer": OPTIMIZERS["sgd"]}, {"schedule": halved}, {"augment": lambda x, g: x}]
)
def test_a_checkpoint_belongs_to_its_optimizer_schedule_and_augmentation(tmp_path, change):
    options = {"seed": 0, "settings": TINY, "checkpoint": tmp_path / "file", "checkpoint_seconds": 0}
    fit(network(), images(), **options)
    with pytest.raises(InputError, match="file: expected a checkpoint of the same"):
        fit(network(), images(), **options, **change)


def test_an_optimizer_that_keeps_something_else_cannot_be_saved(tmp_path):
    class Keeping(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            self.state[self.param_groups[0]["params"][0]]["history"] = [1, 2]

    options = {"optimizer": lambda parameters: Keeping(parameters, lr=0.1), "settings": TINY, "seed": 0}
    fit(network(), images(), **options)
    with pytest.raises(InputError, match=r"checkpoint: expected an optimizer.*0.history"):
        fit(network(), images(), **options, checkpoint=tmp_path / "file", checkpoint_seconds=0)


# Precision.


class Dtypes(nn.Module):
    """Notes what its layer computes in."""

    def __init__(self):
        super().__init__()
        self.network, self.seen = mlp(), set()
        self.network[-1].register_forward_hook(
            lambda layer, inputs, output: self.seen.add((layer.training, output.dtype))
        )

    def forward(self, inputs):
        return self.network(inputs)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_forward_passes_of_the_training_compute_in_the_precision(precision):
    model = Dtypes()
    settings = replace(TINY, precision=precision)
    fit(model, images(), seed=0, settings=settings, validation=images(5))
    assert model.seen == {(True, getattr(torch, precision)), (False, torch.float32)}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(("precision", "name"), [("bfloat16", "direct"), ("float16", "float"), ("float16", "distill")])
def test_half_precision_trains_and_resumes(tmp_path, precision, name):
    def run(stop=None, **options):
        model = network("plif")
        settings = FitSettings(epochs=4, batch_size=6, learning_rate=0.05, precision=precision, clip_norm=1.0)
        history = fit(
            model, images(), seed=0, method=method(name), settings=settings, progress=stop_at(stop), **options
        )
        return model, history

    whole, history = run()
    full = network("plif")
    exact = fit(full, images(), seed=0, method=method(name), settings=FitSettings(4, 6, 0.05, clip_norm=1.0))
    assert history.loss[0] == pytest.approx(exact.loss[0], rel=0.2)
    options = {"checkpoint": tmp_path / "file", "checkpoint_seconds": 0}
    with pytest.raises(Stop):
        run(5, **options)
    resumed, again = run(**options)
    assert same(whole, resumed)
    assert history.loss == again.loss


def test_the_scale_of_gradients_goes_on_where_it_was(tmp_path):
    """A gradient that overflows halves the scale, and the step is left out."""

    class Huge(Float):
        def term(self, forward):
            return 1e4 * super().term(forward)

    def run(stop=None, **options):
        model = mlp()
        settings = FitSettings(epochs=6, batch_size=6, learning_rate=0.05, precision="float16")
        fit(model, images(), seed=0, method=Huge(), settings=settings, progress=stop_at(stop), **options)
        return model

    whole = run()
    for stop in (2, 7):
        options = {"checkpoint": tmp_path / f"{stop}", "checkpoint_seconds": 0}
        with pytest.raises(Stop):
            run(stop, **options)
        assert same(run(**options), whole)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (dict(precision="half"), "precision: expected one of"),
        (dict(clip_norm=0.0), "clip_norm: expected a positive number"),
    ],
)
def test_bad_settings_are_refused_when_made(settings, match):
    with pytest.raises(InputError, match=match):
        FitSettings(**settings)


# Who is told.


class Told(Callback):
    """Notes all that it is told."""

    def __init__(self):
        self.events = []

    def start(self, step, history):
        self.events.append(("start", step, list(history.loss)))

    def after_step(self, step, measured):
        self.events.append(("step", step, dict(measured)))

    def after_epoch(self, epoch, measured):
        self.events.append(("epoch", epoch, dict(measured)))

    def stop(self):
        self.events.append(("stop",))


def test_callbacks_are_told_what_is_measured_in_order(tmp_path):
    told = Told()
    validation = images(5, seed=1)
    history = fit(network(), images(), seed=0, settings=TINY, callbacks=[told], validation=validation)
    steps = [event[2] for event in told.events if event[0] == "step"]
    names = ["start", *["step"] * 3, "epoch", *["step"] * 3, "epoch", "stop"]
    assert [event[0] for event in told.events] == names
    assert [event[1] for event in told.events if event[0] in ("step", "epoch")] == [1, 2, 3, 1, 4, 5, 6, 2]
    assert told.events[0] == ("start", 0, [])
    assert [step["learning_rate"] for step in steps] == [0.05 * one_cycle(step / STEPS) for step in range(STEPS)]
    losses = [sum(step["loss"] for step in part) / 3 for part in (steps[:3], steps[3:])]
    assert losses == pytest.approx(history.loss)
    epochs = [event[2] for event in told.events if event[0] == "epoch"]
    assert epochs == [
        {"loss": loss, "validation_accuracy": right}
        for loss, right in zip(history.loss, history.validation_accuracy, strict=True)
    ]
    plain = network()
    assert fit(plain, images(), seed=0, settings=TINY).loss == history.loss  # and change nothing


def test_callbacks_are_told_where_a_run_goes_on_and_stopped_when_it_fails(tmp_path):
    told, again = Told(), Told()
    options = {"seed": 0, "settings": TINY, "checkpoint": tmp_path / "file", "checkpoint_seconds": 0}
    with pytest.raises(Stop):
        fit(network(), images(), callbacks=[told], progress=stop_at(4), **options)
    assert told.events[-1] == ("stop",)
    history = fit(network(), images(), callbacks=[again], **options)
    assert again.events[0] == ("start", 4, history.loss[:1])
    assert [event[1] for event in again.events if event[0] == "step"] == [5, 6]


def rows(path):
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("validated", [True, False])
def test_a_csv_of_the_history(tmp_path, validated):
    path = tmp_path / "logs" / "history.csv"
    options = {"seed": 0, "settings": TINY, "callbacks": [CsvLog(path)]}
    options |= {"validation": images(5)} if validated else {}
    history = fit(network(), images(), **options)
    expected = [{"epoch": k + 1, "loss": loss} for k, loss in enumerate(history.loss)]
    if validated:
        expected = [row | {"validation_accuracy": history.validation_accuracy[k]} for k, row in enumerate(expected)]
    assert rows(path) == expected
    whole = path.read_bytes()
    path.unlink()
    options |= {"checkpoint": tmp_path / "file", "checkpoint_seconds": 0, "callbacks": [CsvLog(str(path))]}
    with pytest.raises(Stop):
        fit(network(), images(), progress=stop_at(4), **options)
    assert len(rows(path)) == 1
    fit(network(), images(), **options)
    assert path.read_bytes() == whole


def scalars(folder):
    """The values that TensorBoard shows, by tag."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_what_was_measured_also_after_a_kill(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    told = Told()
    options = {"seed": 0, "settings": replace(TINY, clip_norm=1.0), "validation": images(5)}
    fit(network(), images(), callbacks=[told, TensorBoardLog(tmp_path / "whole")], **options)
    expected = {
        f"step/{name}": [(event[1], event[2][name]) for event in told.events if event[0] == "step"]
        for name in ("loss", "learning_rate", "gradient_norm")
    }
    expected |= {
        f"epoch/{name}": [(3 * event[1], event[2][name]) for event in told.events if event[0] == "epoch"]
        for name in ("loss", "validation_accuracy")
    }
    shown = scalars(tmp_path / "whole")
    assert shown.keys() == expected.keys()
    for tag, values in shown.items():
        assert [step for step, _ in values] == [step for step, _ in expected[tag]]
        assert [value for _, value in values] == pytest.approx([value for _, value in expected[tag]], rel=1e-6)
    options |= {"checkpoint": tmp_path / "file", "checkpoint_seconds": 0}
    with pytest.raises(Stop):
        fit(network(), images(), callbacks=[TensorBoardLog(tmp_path / "killed")], progress=stop_at(5), **options)
    (tmp_path / "later").write_bytes((tmp_path / "file").read_bytes())
    fit(network(), images(), callbacks=[TensorBoardLog(tmp_path / "killed")], **options)
    assert scalars(tmp_path / "killed") == shown


def test_a_step_that_is_done_again_is_shown_once(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    for first, last in ((0, 5), (2, 6)):
        log = TensorBoardLog(tmp_path)
        with listening([log], first, History()):
            for step in range(first + 1, last + 1):
                log.after_step(step, {"loss": float(10 * first + step)})
    assert scalars(tmp_path)["step/loss"] == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0), (5, 25.0), (6, 26.0)]


def test_without_tensorboard_an_error_names_the_remedy(tmp_path, monkeypatch):
    imported = builtins.__import__

    def without(name, *args, **kwargs):
        if "tensorboard" in name:
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="TensorBoardLog: expected the package tensorboard"):
        TensorBoardLog(tmp_path)
