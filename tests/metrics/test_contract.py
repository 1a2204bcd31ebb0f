"""Every metric class against its function: batches, copies, order, precision, gradients; and the room's names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torchmetrics import MetricCollection

import tsnn_uq.metrics as M
from tests.helpers.metric_tester import MetricTester, same
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import functional as F

SAMPLES, INPUTS, CLASSES = 4, 12, 3
_G = torch.Generator().manual_seed(1)
PROBS = torch.rand(SAMPLES, INPUTS, CLASSES, generator=_G, dtype=torch.float64).add(0.05)
PROBS = PROBS / PROBS.sum(-1, keepdim=True)
TARGET = torch.randint(CLASSES, (INPUTS,), generator=_G)
UNCERTAINTY = torch.randint(1, 6, (INPUTS,), generator=_G).double() / 8  # exact in half precision, with ties
OTHER = torch.randint(2, 8, (INPUTS,), generator=_G).double() / 8
CORRECT = torch.rand(INPUTS, generator=_G) < 0.6
OVER_TIME = torch.rand(2, 5, INPUTS, CLASSES, generator=_G, dtype=torch.float64).add(0.05)
OVER_TIME = OVER_TIME / OVER_TIME.sum(-1, keepdim=True)
OTHER_CORRECT, SETS = torch.rand(INPUTS, generator=_G) < 0.8, torch.rand(INPUTS, CLASSES, generator=_G) < 0.5
LOGITS = torch.randn(INPUTS, CLASSES, generator=_G, dtype=torch.float64)
# What is no metric but works on predictions or on other metrics, and what metrics return.
TOOLS = {"average_over_time", "conformal_sets", "over_time", "paired_bootstrap", "time_as_samples"}
TOOL_CLASSES = {"ConformalClassifier", "ConformalSets", "OverTime", "PairedBootstrap", "PerInputMetric"}
RESULTS = {
    "BootstrapInterval",
    "BrierParts",
    "ConformalPoints",
    "EarlyExitPoints",
    "McnemarResult",
    "ReliabilityBins",
    "RiskCoveragePoints",
}
METRICS = [name for name in F.__all__ if name not in TOOLS]
# What has no good default, and functions whose default is a value per input, where their class's is a mean.
NEEDED = {"early_exit": {"threshold": 0.5}} | {
    name: {"reduction": "mean"}
    for name in ("first_stable_step", "energy_score", "maximum_logit_score", "maximum_softmax_score")
}


def class_name(function: str) -> str:
    return function.title().replace("_", "")


def case(name: str, **options: object) -> MetricTester:
    """The class and the function of this name, with the inputs that its first parameter asks for."""
    function, options = getattr(F, name), NEEDED.get(name, {}) | options
    first, second = (*function.__code__.co_varnames[:2],)
    over_time = {"probs": OVER_TIME, "target": TARGET} if second == "target" else {"probs": OVER_TIME}
    if name in ("early_exit", "first_stable_step"):
        return MetricTester(getattr(M, class_name(name)), function, over_time, (2, 0)[: len(over_time)], options)
    kinds = {
        ("first_correct", "second_correct"): ({"first_correct": CORRECT, "second_correct": OTHER_CORRECT}, (0, 0)),
        ("sets", "target"): ({"sets": SETS, "target": TARGET}, (0, 0)),
        ("sets", "reduction"): ({"sets": SETS}, (0,)),
        ("logits", "temperature"): ({"logits": LOGITS}, (0,)),
        ("logits", "reduction"): ({"logits": LOGITS}, (0,)),
        ("probs", "target"): ({"probs": PROBS.mean(0), "target": TARGET}, (0, 0)),
        ("uncertainty", "correct"): ({"uncertainty": UNCERTAINTY, "correct": CORRECT}, (0, 0)),
        ("in_uncertainty", "out_uncertainty"): ({"in_uncertainty": UNCERTAINTY, "out_uncertainty": OTHER}, (0, 0)),
    }
    axis = 0 if options.get("sample_dim") == 1 else 1
    monte_carlo = ({"probs": PROBS if axis else PROBS.transpose(0, 1)}, (axis,))
    inputs, axes = kinds.get((first, second), monte_carlo)
    if name == "maximum_softmax_score":
        inputs, axes = {"probs": PROBS.mean(0)}, (0,)
    return MetricTester(getattr(M, class_name(name)), function, inputs, axes, options)


CASES = [
    *(case(name) for name in METRICS),
    case("predictive_entropy", base=2, reduction="sum"),
    case("predictive_entropy", normalize=True, reduction="none", sample_dim=1),
    case("mutual_information", base=2.5, reduction="none"),
    case("expected_pairwise_kl", base=2, reduction="none"),
    case("predictive_variance", of="classes", unbiased=True),
    case("predictive_variance", of="predicted", reduction="none"),
    case("predictive_std", of="classes", reduction="sum"),
    case("predictive_std", of="classes", reduction="none"),
    case("brier_score", reduction="none"),
    case("expected_calibration_error", bins=1),
    case("debiased_calibration_error", bins=4, squared=True),
    case("adaptive_calibration_error", bins=5),
    case("adaptive_calibration_error", bins=5, of="predicted"),
    case("maximum_calibration_error", bins=4, of="classes"),
    case("debiased_calibration_error", bins=4, of="classes"),
    case("smooth_calibration_error", of="classes"),
    case("reliability_curve", bins=4, level=0.5),
    case("accuracy_at_coverage", coverage=0.5),
    case("coverage_at_risk", risk=0.3),
    case("fpr_at_tpr", tpr=0.5),
    case("mcnemar_test", mid_p=True),
    case("set_size", reduction="none"),
    case("early_exit", threshold=1.0, score="entropy"),
    case("first_stable_step", reduction="none"),
    case("energy_score", temperature=2.0, reduction="sum"),
]


@pytest.mark.parametrize("tester", CASES, ids=str)
class TestContract:
    def test_split(self, tester: MetricTester) -> None:
        tester.check_split()

    def test_order(self, tester: MetricTester, generator: torch.Generator) -> None:
        tester.check_order(generator)

    def test_copies(self, tester: MetricTester) -> None:
        tester.check_copies()

    def test_reset(self, tester: MetricTester) -> None:
        tester.check_reset()

    def test_forward(self, tester: MetricTester) -> None:
        tester.check_forward()

    def test_empty(self, tester: MetricTester) -> None:
        tester.check_empty()

    def test_precision(self, tester: MetricTester) -> None:
        tester.check_precision()

    def test_gradient(self, tester: MetricTester) -> None:
        tester.check_gradient()

    def test_collection(self, tester: MetricTester) -> None:
        tester.check_collection()


def test_each_function_has_the_class_of_its_name() -> None:
    metrics = {name for name in M.__all__ if isinstance(getattr(M, name), type)}
    assert metrics - RESULTS - TOOL_CLASSES == {class_name(name) for name in METRICS}
    for name in METRICS:
        metric = getattr(M, class_name(name))
        assert metric.function is getattr(F, name)
        assert metric.__module__ == metric.function.__module__


@pytest.mark.parametrize("tester", CASES, ids=str)
def test_unknown_options_are_refused(tester: MetricTester) -> None:
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `normalise`"):
        tester.metric(**tester.options, normalise=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("PredictiveEntropy", {"base": 1}, "base: expected a positive number other than 1"),
        ("MutualInformation", {"base": -2}, "base: expected a positive number; got -2"),
        ("VariationRatio", {"reduction": "max"}, "reduction: expected one of mean, sum, none; got 'max'"),
        ("BrierScore", {"reduction": "avg"}, "reduction: expected one of"),
        ("PredictiveStd", {"of": "all"}, "of: expected one of total, predicted, classes"),
        ("PredictiveStd", {"sample_dim": 3}, "sample_dim: expected an axis"),
        ("ExpectedCalibrationError", {"bins": 0}, "bins: expected a positive whole number"),
        ("AdaptiveCalibrationError", {"bins": 2.5}, "bins: expected a positive whole number"),
        ("RmsCalibrationError", {"of": "top"}, "of: expected one of predicted, classes; got 'top'"),
        ("AdaptiveCalibrationError", {"of": "all"}, "of: expected one of predicted, classes"),
        ("SmoothCalibrationError", {"of": "all"}, "of: expected one of predicted, classes"),
        ("ReliabilityCurve", {"level": 1.0}, "level: expected 0 <= value < 1"),
        ("AccuracyAtCoverage", {"coverage": 0.0}, "coverage: expected a positive number"),
        ("CoverageAtRisk", {"risk": 1.5}, "risk: expected 0 <= value <= 1"),
        ("FprAtTpr", {"tpr": 95}, "tpr: expected 0 <= value <= 1"),
        ("EarlyExit", {"threshold": 0.5, "score": "margins"}, "score: expected one of confidence, margin"),
        ("EnergyScore", {"temperature": 0}, "temperature: expected a positive number"),
        ("FirstStableStep", {"reduction": "max"}, "reduction: expected one of"),
    ],
)
def test_bad_options_fail_before_any_batch(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        getattr(M, name)(**options)


def test_one_collection_serves_samples_and_mean_predictions() -> None:
    collection = MetricCollection(
        [M.PredictiveEntropy(), M.MutualInformation(), M.BrierScore(sample_dim=0)]
        + [kind(sample_dim=0) for kind in (M.ExpectedCalibrationError, M.RmsCalibrationError)]
        + [kind(sample_dim=0) for kind in (M.BrierDecomposition, M.AdaptiveCalibrationError)]
    )
    for part in range(3):
        rows = slice(4 * part, 4 * part + 4)
        collection.update(probs=PROBS[:, rows], target=TARGET[rows])
    values = collection.compute()
    same(values["PredictiveEntropy"], F.predictive_entropy(PROBS))
    for name in ("brier_score", "expected_calibration_error", "rms_calibration_error", "brier_decomposition"):
        same(values[class_name(name)], getattr(F, name)(PROBS.mean(0), TARGET))
    same(values["AdaptiveCalibrationError"], F.adaptive_calibration_error(PROBS.mean(0), TARGET))


def test_a_collection_never_merges_quantities_that_agree_on_the_first_batch() -> None:
    """torchmetrics lets metrics share one state if names and first values agree; here all first values are 0."""
    metrics = {
        "mi": M.MutualInformation(),
        "bits": M.MutualInformation(base=2),
        "variance": M.PredictiveVariance(),
        "predicted": M.PredictiveVariance(of="predicted"),
        "ratio": M.VariationRatio(),
    }
    alone = {name: metric.clone() for name, metric in metrics.items()}
    together = MetricCollection(metrics)
    agreed = PROBS[:1].expand_as(PROBS)
    for batch in (agreed, PROBS):
        together.update(probs=batch)
        for metric in alone.values():
            metric.update(batch)
    for name, value in together.compute().items():
        same(value, alone[name].compute())


def test_plot_draws_a_number_and_a_history() -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    metric = M.PredictiveEntropy()
    metric.update(PROBS)
    figure, axes = metric.plot()
    assert axes.lines[0].get_ydata()[0] == pytest.approx(metric.compute().item())
    pyplot.close(figure)
    figure, axes = metric.plot([metric.compute(), metric.compute()])
    pyplot.close(figure)
    assert len(axes.lines[0].get_ydata()) == 2
    with pytest.raises(NotImplementedError):
        M.ReliabilityCurve().plot()


_REPORT = """
import sys, time
import torchmetrics
from torchmetrics import MetricCollection
loaded, start = set(sys.modules), time.process_time()
import tsnn_uq.metrics
print(time.process_time() - start)
print(*sorted({name.split(".")[0] for name in set(sys.modules) - loaded}))
"""


def test_import_is_lean_and_quick() -> None:
    """Over torchmetrics, which itself imports matplotlib where it finds it, the room costs next to nothing."""
    runs = [
        subprocess.run([sys.executable, "-c", _REPORT], capture_output=True, text=True, check=True) for _ in range(2)
    ]
    seconds = min(float(run.stdout.splitlines()[0]) for run in runs)
    loaded = set(runs[0].stdout.splitlines()[1].split())
    assert not loaded & {"pyro", "netcal", "matplotlib", "pandas", "sklearn", "scipy", "gpytorch"}
    assert "tsnn_uq" in loaded
    assert seconds < 0.3
