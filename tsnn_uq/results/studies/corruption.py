"""Error, calibration and entropy on corrupted images, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from tsnn_uq.checks import InputError, check_choice, check_positive
from tsnn_uq.data import CORRUPTIONS, Dataset, EventDataset, Inputs, apply_shift
from tsnn_uq.data.corruptions import KINDS
from tsnn_uq.devices import use_threads
from tsnn_uq.experiments.evaluation import predict
from tsnn_uq.experiments.storage import read_predictions
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.recalibration import TemperatureScaling
from tsnn_uq.results.studies.run_inputs import own_inputs, run_settings
from tsnn_uq.results.studies.run_selection import Runs

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["CLEAN", "corrupted_examples", "corruption_curves", "corruption_errors"]

CLEAN = "none"


def corruption_curves(
    runs: Runs,
    kinds: Sequence[str] = tuple(CORRUPTIONS),
    *,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    inputs: int | None = 1000,
    samples: int = 8,
    bins: int = 15,
) -> DataFrame:
    """Calibration under shift: each method on the same test images with each kind and severity of corruption.

    Temperatures are fitted to the stored clean validation predictions of each run, with the same number of samples. The
    masks of a network are those of its own predictions, and the same for every corruption.

    Args:
        runs: runs on images.
        kinds: kinds of `tsnn_uq.data.CORRUPTIONS` or ``DIGIT_CORRUPTIONS``.
        severities: 1 to 5; some kinds only have 1.
        inputs: largest number of test inputs, always the same ones; None for all.
        samples: number of Monte Carlo samples S.
        bins: number of bins of the calibration error.

    Returns:
        A row for each ``method``, ``kind`` and ``severity``, first the clean images (kind "none", severity 0):
        ``error`` (a fraction), ``ece``, ``nll`` and ``entropy`` (nats, of the mean prediction); ``scaled_ece``,
        ``scaled_nll`` and ``scaled_entropy`` after scaling with ``temperature``; ``temperature_outcome``, which is
        "optimum" if the validation part determines the temperature; ``inputs``, ``samples``, ``bins``.

    Raises:
        InputError: the data are events, or a kind is unknown or has none of the severities.
    """
    import pandas as pd

    check_positive("samples", samples, integer=True)
    dataset = _images(runs, inputs)
    wanted = _corruptions(kinds, severities)
    configs = run_settings(runs)
    networks = {method: runs.network(method) for method in configs}
    scalings = {}
    for method, folder in runs.folders.items():
        held_out, labels = read_predictions(folder, "validation")
        scalings[method] = TemperatureScaling().fit(held_out[:samples], labels)
    rows: dict[str, list[dict[str, object]]] = {method: [] for method in configs}
    for kind, severity in wanted:  # the outer loop, so that only one corrupted copy is in memory
        images = dataset.images if kind == CLEAN else _corrupt(runs, dataset.images, kind, severity)
        shown = Inputs(images, dataset.labels, dataset.name, dataset.classes)
        for method, config in configs.items():
            with use_threads(config.threads):
                probs = predict(networks[method], shown, samples=samples, seed=config.seed)
            scaling = scalings[method]
            names = {"method": method, "kind": kind, "severity": severity}
            values = _measured(probs, dataset.labels, bins)
            scaled = _measured(scaling.transform(probs), dataset.labels, bins)
            values |= {f"scaled_{name}": value for name, value in scaled.items() if name != "error"}
            fitted = {"temperature": scaling.temperature, "temperature_outcome": scaling.outcome}
            sizes = {"inputs": len(dataset), "samples": len(probs), "bins": bins}
            rows[method].append(names | values | fitted | sizes)
    return pd.DataFrame([row for of_method in rows.values() for row in of_method])


def _measured(probs: Tensor, labels: Tensor, bins: int) -> dict[str, float]:
    mean = probs.mean(0)
    return {
        "error": 1 - float(metrics.accuracy(mean, labels)),
        "ece": float(metrics.expected_calibration_error(mean, labels, bins=bins)),
        "nll": float(metrics.negative_log_likelihood(mean, labels)),
        "entropy": float(metrics.predictive_entropy(probs)),
    }


def corruption_errors(curves: DataFrame, baseline: str | None = None) -> DataFrame:
    r"""Mean corruption error of each method, absolute and relative to a baseline.

    .. math:: \mathrm{mCE} = \frac1K \sum_k \mathrm{CE}_k, \qquad
              \mathrm{CE}_k = \frac15 \sum_s E_{ks} \quad \text{or} \quad \sum_s E_{ks} / \sum_s E^0_{ks}

    Hendrycks and Dietterich (2019, arXiv 1903.12261) use the first for CIFAR-10-C, and the second, with the errors of a
    baseline, for ImageNet-C.

    Args:
        curves: as returned by `corruption_curves`.
        baseline: the method by whose errors the others are divided; by default the first.

    Returns:
        A row for each ``method``: ``clean_error``, ``mean_corruption_error`` and ``relative_corruption_error``.

    Raises:
        InputError: the baseline is not among the methods.
    """
    import pandas as pd

    methods = list(dict.fromkeys(curves["method"]))
    base = check_choice("baseline", methods[0] if baseline is None else baseline, methods)
    corrupted = curves[curves["kind"] != CLEAN]
    of_kinds = corrupted.pivot_table(index="kind", columns="method", values="error")
    clean = curves[curves["kind"] == CLEAN].set_index("method")["error"]
    rows = [
        {
            "method": method,
            "clean_error": float(clean[method]),
            "mean_corruption_error": float(of_kinds[method].mean()),
            "relative_corruption_error": float((of_kinds[method] / of_kinds[base]).mean()),
        }
        for method in methods
    ]
    return pd.DataFrame(rows)


def corrupted_examples(
    runs: Runs,
    kinds: Sequence[str] = tuple(CORRUPTIONS),
    *,
    severity: int = 5,
    inputs: int | None = 1000,
    index: int = 0,
) -> dict[str, Tensor]:
    """One of the images of `corruption_curves` with each kind of corruption, [C, H, W], the clean one first.

    It is corrupted separately, so random corruptions differ from those in the curves. Raises as `corruption_curves`.
    """
    dataset = _images(runs, inputs)
    if not 0 <= index < len(dataset):
        raise InputError(f"index: expected 0 to {len(dataset) - 1}; got {index}")
    image = dataset.images[index : index + 1]
    strongest = {kind: min(severity, KINDS[check_choice("kinds", kind, KINDS)].severities[-1]) for kind in kinds}
    return {CLEAN: image[0]} | {kind: _corrupt(runs, image, kind, degree)[0] for kind, degree in strongest.items()}


def _images(runs: Runs, inputs: int | None) -> Dataset:
    dataset = own_inputs(runs, inputs)
    if isinstance(dataset, EventDataset):
        raise InputError(f"data: expected images, which can be corrupted; got events of {dataset.name}")
    return dataset


def _corruptions(kinds: Sequence[str], severities: Sequence[int]) -> list[tuple[str, int]]:
    """Pairs of kind and severity, the clean images first."""
    found = [(CLEAN, 0)]
    for kind in kinds:
        check_choice("kinds", kind, KINDS)
        wanted = [severity for severity in sorted(set(severities)) if severity in KINDS[kind].severities]
        if not wanted:
            raise InputError(f"severities: expected at least one that {kind} has; got {list(severities)}")
        found += [(kind, severity) for severity in wanted]
    return found


def _corrupt(runs: Runs, images: Tensor, kind: str, severity: int) -> Tensor:
    return apply_shift(images, f"{kind}={severity}", seed=runs.seed)
