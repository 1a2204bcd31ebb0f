"""Compare uncertainty terms with posteriors of networks that were trained without a term."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tsnn_uq import __version__
from tsnn_uq.checks import InputError, check_positive
from tsnn_uq.devices import use_threads
from tsnn_uq.experiments import Settings, load_network
from tsnn_uq.experiments.ablation.candidates import Stage
from tsnn_uq.experiments.ablation.measured_runs import foreign_set, is_measured, keep_measured, read_measured
from tsnn_uq.experiments.ablation.stages import do_and_measure, runs_left
from tsnn_uq.experiments.bayesian import (
    PosteriorSettings,
    load_draws_of,
    posterior_of_run,
    sparsity_of,
    without_masks,
)
from tsnn_uq.experiments.evaluation import predict_each
from tsnn_uq.experiments.inputs import load_splits
from tsnn_uq.experiments.runner import Task
from tsnn_uq.experiments.settings import Context, run_name, silent
from tsnn_uq.files import csv_text, write_text
from tsnn_uq.results.measure_predictions import measure_predictions
from tsnn_uq.results.predictions import Part, Predictions

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["TEMPERATURES", "count_posteriors", "posteriors", "posteriors_folder", "posteriors_runs"]

TEMPERATURES = (0.003, 0.01, 0.03, 0.1, 1.0)
MEMBERS = 5


def posteriors(
    stage: Stage,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    noises: Sequence[str] = ("auto",),
    members: int = MEMBERS,
    settings: dict[str, Any] | None = None,
    context: Context = Context(),
) -> DataFrame:
    """Infer posteriors of each float network (ternary, Laplace, SWAG), and form float and ternary ensembles.

    The temperature of the ternary posteriors is chosen with the first seed, by the smallest negative log-likelihood on
    the validation part. Beside them stand the float and direct networks with masks, and, for the same budget, those
    trained from each float network for as many epochs as a posterior.

    Args:
        stage: the finals, whose float and direct runs are read, or trained if they are missing; ``posteriors.csv`` is
            written to its folder, or for another network than the first of its `families` ``posteriors-NETWORK.csv``.
        temperatures: the temperatures to choose from.
        noises: how ternary posteriors are trained; see `PosteriorSettings`. Each has a temperature of its own.
        members: number of members of an ensemble, and of seeds to train; 0 for no ensembles.
        settings: settings of all posteriors, see `PosteriorSettings`.
        context: where and how runs are done; posteriors are inferred one after the other.

    Returns:
        Two rows for each network with masks and each posterior, in the format of the finals, with the term ``"none"``;
            one for each ensemble, without a temperature.

    Raises:
        InputError: a noise is unknown, a temperature is not positive or none is given, `members` is negative, data are
            missing, or training a run failed.
    """
    import pandas as pd

    if members:
        check_positive("members", members, integer=True)
    if not temperatures:
        raise InputError("temperatures: expected at least one; got none; pass 0.01, for instance")
    sources, ternary = _networks(stage, members)
    common = {"samples": sources[0].samples, **(settings or {})}
    tried = {  # made before anything is trained, since a setting may be wrong
        noise: [PosteriorSettings("ternary", heat, noise=noise, **common) for heat in temperatures] for noise in noises
    }
    longer = _longer(stage, PosteriorSettings(**common).epochs)
    do_and_measure(stage, [*sources, *ternary], context)
    do_and_measure(stage, longer, context)
    rows: list[dict[str, Any]] = []
    for run in [*sources[: stage.seeds], *ternary[: stage.seeds], *longer]:
        more = f", {run.epochs} epochs more" if run in longer else ""
        rows += read_measured(stage.place(run), **_head(stage, f"{run.method.name}, masks{more}", run.seed))
    best = {}
    for noise, each in tried.items():
        losses = [_infer(stage, sources[0], wanted, context)["validation_nll"] for wanted in each]
        best[noise] = temperatures[losses.index(min(losses))]
    for seed in range(stage.seeds):
        kinds = [PosteriorSettings("ternary", heat, noise=noise, seed=seed, **common) for noise, heat in best.items()]
        kinds += [PosteriorSettings(kind, seed=seed, **common) for kind in ("laplace", "swag")]
        for wanted in kinds:
            _infer(stage, sources[seed], wanted, context)
            rows += _measured(stage, sources[seed], wanted, context)
    for networks in (sources, ternary) if members else ():
        rows += _ensemble(stage, networks[:members], context)
    table = pd.DataFrame(rows)
    write_text(posteriors_folder(stage).with_suffix(".csv"), csv_text(table))
    return table


def posteriors_runs(stage: Stage, members: int = MEMBERS) -> list[Task]:
    """The runs that `posteriors` needs."""
    runs = [run for runs in _networks(stage, members) for run in runs]
    return runs_left(stage, [*runs, *_longer(stage, PosteriorSettings().epochs)])


def count_posteriors(
    stage: Stage, noises: Sequence[str] = ("auto",), temperatures: Sequence[float] = TEMPERATURES
) -> int:
    """Number of posteriors that `posteriors` infers or reads: for each temperature, and of all kinds for each seed."""
    return len(noises) * len(temperatures) + (len(noises) + 2) * stage.seeds


def _networks(stage: Stage, members: int) -> list[list[Settings]]:
    """Settings of the float runs and of the ternary runs."""
    seeds = range(max(members, stage.seeds))
    return [[stage.run(stage.network, method, seed=seed) for seed in seeds] for method in ("float", "direct")]


def _longer(stage: Stage, epochs: int) -> list[Settings]:
    """Settings of float and direct runs that go on from the float runs, for the same budget as posteriors."""
    return [
        stage.run(stage.network, method, seed=seed).replace(start_from=stage.start, epochs=epochs)
        for method in ("float", "direct")
        for seed in range(stage.seeds)
    ]


def posteriors_folder(stage: Stage) -> Path:
    """The folder of the posteriors of the stage's network; the table with their rows is beside it."""
    return stage.out / ("posteriors" if stage.network == stage.families[0] else run_name("posteriors", stage.network))


def _place(stage: Stage, wanted: PosteriorSettings) -> Path:
    heat = f"-{wanted.temperature:g}" if wanted.kind == "ternary" else ""
    return posteriors_folder(stage) / f"{_kind(wanted)}{heat}-{wanted.seed}"


def _kind(wanted: PosteriorSettings) -> str:
    """The kind of a posterior, and how it is trained unless by default."""
    return wanted.kind if wanted.noise == "auto" else f"{wanted.kind}-{wanted.noise}"


def _infer(stage: Stage, config: Settings, wanted: PosteriorSettings, context: Context) -> dict[str, Any]:
    place = _place(stage, wanted)
    values = posterior_of_run(stage.place(config), wanted, place, replace(context, progress=silent))
    context.progress(place.name, "measure", 1, 1)
    return values


def _measured(stage: Stage, config: Settings, wanted: PosteriorSettings, context: Context) -> list[dict[str, Any]]:
    place = _place(stage, wanted)
    heat = f" at temperature {wanted.temperature:g}" if wanted.kind == "ternary" else ""

    def networks() -> list[nn.Module]:
        return load_draws_of(stage.place(config), place, config.device)

    return _rows(stage, config, place, f"{_kind(wanted)} posterior{heat}", networks, context)


def _ensemble(stage: Stage, members: Sequence[Settings], context: Context) -> list[dict[str, Any]]:
    """Measure an ensemble of networks that differ only in their seed, without random masks.

    It has no temperature: the validation part of one seed has training inputs of the others.
    """
    method = members[0].method.name

    def networks() -> list[nn.Module]:
        return [without_masks(load_network(stage.place(config), config.device)) for config in members]

    place = posteriors_folder(stage) / f"ensemble-{method}"
    rows = _rows(stage, members[0], place, f"ensemble of {len(members)} {method}", networks, context)
    return [
        {name: value for name, value in row.items() if not name.startswith("validation_")}
        for row in rows
        if row["calibration"] == "none"
    ]


def _rows(
    stage: Stage,
    config: Settings,
    place: Path,
    method: str,
    networks: Callable[[], list[nn.Module]],
    context: Context,
) -> list[dict[str, Any]]:
    """Rows of `measure_predictions` for given networks, kept in their folder so that they are computed once."""
    if not is_measured(place):
        drawn, splits = networks(), load_splits(config, context.data_dir)
        with use_threads(config.threads):
            predictions = Predictions(
                Part(predict_each(drawn, splits.test), splits.test.labels),
                Part(predict_each(drawn, splits.validation), splits.validation.labels),
                {
                    name: Part(predict_each(drawn, foreign_set(of, splits.test.shape, context.data_dir)))
                    for name, of in stage.foreign.items()
                },
            )
        measured = measure_predictions(predictions, bins=config.bins)
        keep_measured(place, measured, sparsity=sparsity_of(drawn), version=__version__)
    return read_measured(place, **_head(stage, method, config.seed))


def _head(stage: Stage, method: str, seed: int) -> dict[str, Any]:
    """The first columns of a row."""
    names = {"dataset": stage.data, "family": stage.network, "method": method, "seed": seed}
    return names | {"term": "none", "regularizer": "none"}
