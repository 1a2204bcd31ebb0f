"""Do one run: train a network, save it, and evaluate its uncertainty. Stages with a valid file are skipped."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from tsnn_uq import __version__, data, training
from tsnn_uq.checks import InputError, check_choice, last_line
from tsnn_uq.components import KINDS
from tsnn_uq.cost import LayerCount, cost, count_layers
from tsnn_uq.devices import find_device, use_threads
from tsnn_uq.experiments.evaluation import count_steps, predict
from tsnn_uq.experiments.inputs import extent_of, load_splits
from tsnn_uq.experiments.settings import Context, Progress, Settings, loss_times
from tsnn_uq.experiments.storage import (
    CHECKPOINT,
    HISTORY,
    PREDICTIONS,
    RESULT,
    WEIGHTS,
    Predicted,
    build_network,
    fingerprint,
    is_finished,
    load_network,
    read_config,
    read_predictions,
    read_row,
    require_same_run,
    seed_network,
    stage_done,
    write_predictions,
    write_row,
)
from tsnn_uq.fast.memory_reuse import keep_freed_memory
from tsnn_uq.files import read_tensors_header, remove_leftovers, write_json
from tsnn_uq.quantization import PARTS, select_layers
from tsnn_uq.quantization.weight_files import save_weights
from tsnn_uq.results.measure_predictions import after_temperature, evaluate
from tsnn_uq.training.losses import spike_count
from tsnn_uq.uncertainty import only_stochastic_layers_train

__all__ = ["LOGS", "UnderWay", "do_run", "lock_path", "locked", "make_method", "make_regularizer", "require_feasible"]

LOGS: dict[str, Callable[[Path], training.Callback]] = {
    "csv": lambda folder: training.CsvLog(folder / "history.csv"),
    "tensorboard": lambda folder: training.TensorBoardLog(folder / "tensorboard"),
}
UnderWay = Timeout
"""Another process or thread is doing this run."""


def do_run(settings: Settings, runs: Path, context: Context, *, wait: bool = True, name: str = "") -> dict[str, Any]:
    """Do one run, after `require_feasible` and the float run that it needs; see `tsnn_uq.experiments.run`.

    The run is locked meanwhile, so no other process does it at the same time.

    Args:
        settings: the settings of the run.
        runs: folder of run folders.
        context: where and how it is done.
        wait: whether to wait while another process does this run, and then to read its result.
        name: name of the run for its progress; by default that of its settings.

    Returns:
        The row of the run in the results table.

    Raises:
        InputError: data are missing, or the loss is not finite.
        UnderWay: another process is doing this run, and `wait` is not set.
    """
    folder, config = runs / settings.name, settings.flat()
    if is_finished(folder, config):
        return read_row(folder)
    with locked(folder, wait=wait), use_threads(settings.threads), keep_freed_memory():
        if is_finished(folder, config):  # finished by the other process meanwhile
            return read_row(folder)
        progress = context.of(name or settings.name)
        splits = load_splits(settings, context.data_dir)
        remove_leftovers(folder)
        settings.save(folder / "config.toml")
        if not stage_done(folder / WEIGHTS, config):
            for later in (PREDICTIONS, RESULT):
                (folder / later).unlink(missing_ok=True)
            _train(settings, runs, splits, context, progress)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        header = read_tensors_header(folder / WEIGHTS, "weights")
        if not stage_done(folder / HISTORY, config):
            write_json(folder / HISTORY, {"run": header["run"], **header["history"]})
        network = load_network(folder, settings.device)  # as a user loads it
        if not stage_done(folder / PREDICTIONS, config):
            write_predictions(folder, _predict_held_out(network, settings, splits, progress), config)
        predictions = {part: read_predictions(folder, part) for part in ("validation", "test")}
        row = _row(settings, network, splits, predictions, header["history"])
        write_row(folder, row, config)
        return row


def lock_path(folder: Path) -> Path:
    """The lock file of a run; it is beside the run's folder, which has only results."""
    return folder.with_name(f".lock-{folder.name}")


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a run's folder. The system releases it whenever the process ends.

    Raises:
        UnderWay: another process holds it, and `wait` is not set.
        InputError: the file cannot be written.
    """
    path = lock_path(folder)
    lock = FileLock(path, timeout=-1 if wait else 0, thread_local=False, is_singleton=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(poll_interval=0.2)
        with suppress(PermissionError):  # Windows does not allow writing to a locked file
            path.write_text(f"{os.getpid()} {platform.node()}\n", encoding="utf-8")  # for information only
    except OSError as error:
        if isinstance(error, Timeout):
            raise
        lock.release(force=True)
        reason = error.strerror or errno.errorcode.get(error.errno or 0, str(error))
        raise InputError(f"{path}: cannot write here ({reason}); choose another folder") from error
    try:
        yield
    finally:
        with suppress(PermissionError):  # on Windows, where releasing a lock removes its file
            path.unlink(missing_ok=True)  # before the release, after which another process may hold it
        lock.release()


def require_feasible(settings: Settings, runs: Path, context: Context = Context()) -> None:
    """Raise now if a run would fail later.

    Raises:
        InputError: the device is not available, a log cannot be written, the folder has a run with other settings, the
            network cannot be built, is not random or has no layers of the quantized part, or the run that it starts
            from is missing or has another network.
    """
    for kind in KINDS:
        settings.require(kind)
    find_device(settings.device)
    make_logs(context.logs, runs / settings.name)
    for argument, given in (("teacher", settings.teacher_from), ("from", settings.first_weights)):
        if given and not (argument == "from" and given in ("own", "float")):
            _require_run(argument, given, settings, runs)
    require_same_run(runs / settings.name, settings.flat())
    extent = extent_of(settings, context.data_dir)
    network = _build_without_memory(settings, extent)
    with only_stochastic_layers_train(network):  # raises if nothing is random
        pass
    part = settings.quantized_part
    if part in PARTS:
        try:
            select_layers(network, part)
        except InputError as error:
            problem = f"the family {settings.family} has none"
            raise InputError(f"quantized_part: expected layers of the kind {part!r}; {problem}") from error
    if settings.train_limit > extent.train and not settings.folds:
        wanted = f"at most {extent.train} (all of {settings.data.name})"
        raise InputError(f"train_limit: expected {wanted}; got {settings.train_limit}")


def make_logs(names: Sequence[str], folder: Path) -> list[training.Callback]:
    """Make the logs of a run's training, which write to its folder; names are those of `LOGS`.

    Raises:
        InputError: a name is unknown, or a package is missing.
    """
    return [LOGS[check_choice("log", name, LOGS)](folder) for name in names]


def _build_without_memory(settings: Settings, extent: data.Extent) -> nn.Module:
    """Build the network without memory for its weights, if its code supports that."""
    try:
        with torch.device("meta"):
            return build_network(settings, extent.shape, extent.classes)
    except InputError:
        return build_network(settings, extent.shape, extent.classes)


def _require_run(argument: str, given: str, settings: Settings, runs: Path) -> None:
    """Check that the initial or teacher run of a run exists and has the same network."""
    folder = _source(given, settings, runs)
    if folder.resolve() == (runs / settings.name).resolve():
        raise InputError(f"{argument}: expected another folder than that of the run itself; got {folder}")
    if not (folder / WEIGHTS).exists():
        wanted = f"the folder of a finished training or one that has {settings.teacher().name} in it"
        wanted = f"own, float, {wanted}" if argument == "from" else wanted
        raise InputError(f"{argument}: expected {wanted}; got {given!r}")
    ours, theirs = settings.flat(), read_config(folder)
    for name in ("network", "network.hidden"):
        one, other = (list(value) if isinstance(value := of.get(name), tuple) else value for of in (ours, theirs))
        if one != other:
            raise InputError(f"{argument}: expected a run with {name} = {one!r}; got {other!r} in {folder}")


def _source(given: str, settings: Settings, runs: Path) -> Path:
    """The folder of an initial or teacher run, given by its path, or by the folder of runs that has the float run."""
    folder = Path(given).expanduser() if given else runs
    return folder if given and (folder / "config.toml").exists() else folder / settings.teacher().name


def _take_first_weights(network: nn.Module, settings: Settings, runs: Path) -> None:
    first = settings.first_weights
    if first == "own":
        return
    folder = _source(settings.teacher_from if first == "float" else first, settings, runs)
    try:
        network.load_state_dict(load_network(folder).state_dict())
    except RuntimeError as error:
        wanted = f"a run with a network like this one; got {folder}: {last_line(error)}"
        raise InputError(f"from: expected {wanted}") from error


def make_regularizer(settings: Settings) -> tuple[training.Regularizer, float]:
    """Make the uncertainty term and its weight (1 if the text has weights); float networks have no quantization gap."""
    text, without = settings.regularizer.name, ("quantization-gap",) * (settings.method.name == "float")
    (term, own), *more = training.regularizer_terms(text).items()
    if more or term in without:
        regularizer = training.make_regularizer(text, without=without)
    else:
        regularizer = settings.make("regularizer")
        regularizer = training.WeightedSum([(own, regularizer)]) if own else regularizer
    return regularizer, 0.0 if type(regularizer) is training.Regularizer else settings.regularizer_weight or 1.0


def make_method(settings: Settings, teacher: nn.Module | None = None) -> training.Method:
    """Make the training method of a run, with its loss; some methods need the network of a teacher.

    Raises:
        InputError: the teacher is missing.
    """
    if settings.taught:
        if teacher is None:
            wanted = f"the network of a float run for method {settings.method.name}"
            raise InputError(f"teacher: expected {wanted}; got none")
        seed_network(teacher, settings.seed, "teacher")
    method: training.Method = settings.make("method", teacher=teacher)
    if settings.loss == "spike-count":
        method.criterion = partial(spike_count, wanted=settings.wanted_counts)
    return method


def _train(settings: Settings, runs: Path, splits: data.Splits, context: Context, progress: Progress) -> None:
    """Train a run's network or resume its training, and write its weights and history to its folder.

    The float run that it needs must be finished.
    """
    folder = runs / settings.name
    part = splits.train.subset(settings.train_limit) if settings.train_limit else splits.train
    size: dict[str, Any] = {"shape": list(part.shape), "classes": part.classes}
    network = build_network(settings, part.shape, part.classes, find_device(settings.device))
    _take_first_weights(network, settings, runs)
    regularizer, weight = make_regularizer(settings)
    teacher = load_network(_source(settings.teacher_from, settings, runs), settings.device) if settings.taught else None
    method = make_method(settings, teacher)
    history = training.fit(
        network,
        part,
        seed=settings.seed,
        method=method,
        regularizer=regularizer,
        settings=training.FitSettings(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            regularizer_weight=weight,
            regularizer_warm_up=settings.regularizer_warm_up,
            loss_over_time=loss_times(settings.loss_over_time),
            batchnorm_inputs=settings.batchnorm_inputs or 0,
        ),
        validation=splits.validation,
        augment=splits.augment,
        checkpoint=folder / CHECKPOINT,
        checkpoint_seconds=context.checkpoint_seconds,
        fingerprint=settings.flat(),
        callbacks=make_logs(context.logs, folder),
        progress=lambda done, total: progress("train", done, total),
    )
    ternary = list(select_layers(network, method.layers)) if hasattr(method, "layers") else []
    header = {"size": size, "history": asdict(history), "run": fingerprint(settings.flat())}
    save_weights(folder / WEIGHTS, network, ternary=ternary, header=header)


def _predict_held_out(
    network: nn.Module, settings: Settings, splits: data.Splits, progress: Progress
) -> dict[str, Predicted]:
    """Predict the two parts that a network is not trained on, with one progress count."""
    predictions: dict[str, Predicted] = {}
    parts = {"validation": splits.validation, "test": splits.test}
    before, total = 0, sum(map(len, parts.values()))
    for name, part in parts.items():
        counted = partial(lambda before, stage, done, _: progress(stage, before + done, total), before)
        probs = predict(network, part, samples=settings.samples, seed=settings.seed, progress=counted)
        predictions[name] = probs, part.labels
        before += len(part)
    return predictions


def _row(
    settings: Settings,
    network: nn.Module,
    splits: data.Splits,
    predictions: dict[str, Predicted],
    history: dict[str, Any],
) -> dict[str, Any]:
    """The row of a run in the results table."""
    example = splits.test.select(torch.tensor([0])).images.to(settings.device)
    seed_network(network, settings.seed, "steps")
    steps = count_steps(network, example)
    seed_network(network, settings.seed, "evaluate")
    layers = count_layers(network, example)
    price = cost(layers, steps=steps)
    row = {
        "dataset": settings.data.name,
        "family": settings.family,
        "configuration": configuration(layers),
        "quantized_part": settings.quantized_part,
        "method": settings.method.name,
        "seed": settings.seed,
        **evaluate(*predictions["test"], settings.bins),
        "point_accuracy": training.accuracy(network, splits.test),
        "validation_accuracy": history["validation_accuracy"][-1],
        "sparsity": price.sparsity,
        "storage_bytes": price.storage_bytes,
        "flops": price.flops,
        "energy_pj": price.energy_pj,
        "train_seconds": history["seconds"],
        "epochs": settings.epochs,
        "steps": steps,
        "samples": settings.samples,
        "mask": getattr(settings.network, "mask", "own"),
        "regularizer": settings.regularizer.name,
        "version": __version__,
        **after_temperature(predictions["validation"], *predictions["test"], settings.bins),
    }
    parts = (splits.train, splits.validation, splits.test)
    if getattr(settings.data, "skip_bad", False):
        row["skipped"] = len({problem for part in parts for problem in getattr(part, "skipped", ())})
    return row


def configuration(layers: Sequence[LayerCount]) -> str:
    """Describe the layers of a network as in the paper's table: ``"FC"``, or for example ``"2Conv+2FC"``."""
    convolutions, full = (sum(layer.kind == kind for layer in layers) for kind in ("conv", "fc"))
    return f"{convolutions}Conv+{full}FC" if convolutions else "FC"
