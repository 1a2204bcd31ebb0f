"""Every metric class against its function: batches, copies, order, precision, gradients; and the room's names."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

import tsnn_uq.metrics as M
from tests.helpers.metric_tester import MetricTester, same
from tsnn_uq.checks import InputError
from tsnn_uq.metrics import functional as F
from tsnn_uq.metrics.input_checks import mean_of_samples

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
COUNTS = torch.randint(1, 5, (INPUTS, CLASSES), generator=_G)
LOGITS = torch.randn(INPUTS, CLASSES, generator=_G, dtype=torch.float64)
# What is no metric but works on predictions or on other metrics, and what metrics return.
TOOL_FUNCTIONS = {"average_over_time", "conformal_sets", "over_time", "paired_bootstrap", "time_as_samples"}
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
METRICS = [name for name in F.__all__ if name not in TOOL_FUNCTIONS]
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
        ("probs", "counts"): ({"probs": PROBS.mean(0), "counts": COUNTS}, (0, 0)),
        ("uncertainty", "counts"): ({"uncertainty": UNCERTAINTY, "counts": COUNTS}, (0, 0)),
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


FITTED = M.ConformalClassifier(0.3).fit(PROBS.mean(0), TARGET)


def conformal_points(probs: Tensor, target: Tensor) -> M.ConformalPoints:
    sets = F.conformal_sets(probs, FITTED)
    return M.ConformalPoints(F.set_coverage(sets, target), F.set_size(sets), (~sets.any(-1)).double().mean())


def bootstrap(first: Tensor, second: Tensor, target: Tensor) -> M.BootstrapInterval:
    draws = torch.Generator().manual_seed(0)
    return F.paired_bootstrap(F.brier_score, first, second, target, generator=draws, resamples=5)


def make_conformal_sets(**options: Any) -> Metric:
    return M.ConformalSets(FITTED, **options)


def make_bootstrap(**options: Any) -> Metric:
    return M.PairedBootstrap(F.brier_score, resamples=5, **options)


# Classes that are made of a fitted classifier, or of another metric.
TOOLS = [
    MetricTester(make_conformal_sets, conformal_points, {"probs": PROBS.mean(0), "target": TARGET}, (0, 0)),
    MetricTester(make_bootstrap, bootstrap, {"first": PROBS[0], "second": PROBS[1], "target": TARGET}, (0, 0, 0)),
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

    def test_refused(self, tester: MetricTester) -> None:
        tester.check_refused()

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
        ("MutualInformation", {"base": -2}, "base: expected a positive number"),
        ("VariationRatio", {"reduction": "max"}, "reduction: expected one of"),
        ("BrierScore", {"reduction": "avg"}, "reduction: expected one of"),
        ("PredictiveStd", {"of": "all"}, "of: expected one of"),
        ("PredictiveStd", {"sample_dim": 3}, "sample_dim: expected an axis"),
        ("ExpectedCalibrationError", {"bins": 0}, "bins: expected a positive whole number"),
        ("AdaptiveCalibrationError", {"bins": 2.5}, "bins: expected a positive whole number"),
        ("RmsCalibrationError", {"of": "top"}, "of: expected one of"),
        ("AdaptiveCalibrationError", {"of": "all"}, "of: expected one of"),
        ("SmoothCalibrationError", {"of": "all"}, "of: expected one of"),
        ("ReliabilityCurve", {"level": 1.0}, "level: expected 0 <= value < 1"),
        ("AccuracyAtCoverage", {"coverage": 0.0}, "coverage: expected a positive number"),
        ("CoverageAtRisk", {"risk": 1.5}, "risk: expected 0 <= value <= 1"),
        ("FprAtTpr", {"tpr": 95}, "tpr: expected 0 <= value <= 1"),
        ("EarlyExit", {"threshold": 0.5, "score": "margins"}, "score: expected one of"),
        ("EnergyScore", {"temperature": 0}, "temperature: expected a positive number"),
        ("FirstStableStep", {"reduction": "max"}, "reduction: expected one of"),
    ],
)
def test_bad_options_fail_before_any_batch(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        getattr(M, name)(**options)


# The value of each metric of `probs` and maybe `target`, from samples [S, N, C].
OF_TIME = ("early_exit", "first_stable_step")
OF_SAMPLES = {
    class_name(name): getattr(F, name)
    for name in METRICS
    if getattr(F, name).__code__.co_varnames[0] == "probs" and name not in ("human_cross_entropy", *OF_TIME)
}
OF_MEAN = [name for name, of in OF_SAMPLES.items() if "sample_dim" not in inspect.signature(of).parameters]


def positional(metrics: dict[str, Any], probs: Tensor, axis: int, **options: Any) -> dict[str, Any]:
    """What a collection of these metrics gives after three uneven batches, labels after predictions."""
    collection = MetricCollection(dict(metrics), **options)
    for rows in (slice(0, 5), slice(5, 6), slice(6, INPUTS)):
        collection.update(probs[:, rows] if axis else probs[rows], TARGET[rows])
    return collection.compute()


@pytest.mark.parametrize("compute_groups", [True, False])
def test_one_collection_serves_samples_and_mean_predictions(compute_groups: bool) -> None:
    """By position and by keyword; metrics of the mean prediction take the mean themselves."""
    assert {"PredictiveEntropy", "ExpectedCalibrationError", "Accuracy", "MaximumSoftmaxScore"} < OF_SAMPLES.keys()
    metrics = {name: getattr(M, name)() for name in OF_SAMPLES} | {"ConformalSets": M.ConformalSets(FITTED)}
    values = positional(metrics, PROBS, 1, compute_groups=compute_groups)
    forward = MetricCollection({name: getattr(M, name)() for name in OF_SAMPLES})(probs=PROBS, target=TARGET)
    mean = mean_of_samples(PROBS)
    same(values.pop("ConformalSets"), conformal_points(mean, TARGET))
    for name, function in OF_SAMPLES.items():
        given = mean if name in OF_MEAN else PROBS
        labels = (TARGET,) if "target" in inspect.signature(function).parameters else ()
        expected = function(given, *labels, **NEEDED.get(function.__name__, {}))
        same(values[name], expected)
        same(forward[name], expected)


def test_mean_predictions_may_be_given_as_they_are() -> None:
    """[N, C] is a mean prediction already, whatever the `sample_dim`; what needs samples refuses it."""
    mean = mean_of_samples(PROBS)
    for axis in (0, 1, None):
        for name, value in positional({name: getattr(M, name)(sample_dim=axis) for name in OF_MEAN}, mean, 0).items():
            same(value, positional({name: getattr(M, name)()}, PROBS, 1)[name])
    with pytest.raises(InputError, match=r"probs: expected a tensor of shape \[S, N, C\]"):
        M.MutualInformation()(mean, TARGET)
    with pytest.raises(InputError, match=r"probs: expected a tensor of shape \[N, C\]"):
        M.Accuracy(sample_dim=None)(PROBS, TARGET)


# Another value of each option that any metric has; the contract below asks for one.
OTHER_VALUES: dict[str, list[Any]] = {
    "base": [2, 2.5],
    "normalize": [True],
    "reduction": ["sum", "none"],
    "sample_dim": [0, 1, 2, -1],
    "of": ["predicted", "classes", "total"],
    "unbiased": [True],
    "bins": [1, 4],
    "squared": [True],
    "level": [0.5],
    "coverage": [0.5],
    "risk": [0.3],
    "tpr": [0.5],
    "mid_p": [True],
    "threshold": [0.4, 0.99],
    "score": ["entropy", "margin", "mutual-information"],
    "temperature": [2.0],
    "validate": [False],
}


def variants(tester: MetricTester) -> list[dict[str, Any]]:
    """The options of a metric, and these with each one changed."""
    names = {**inspect.signature(tester.function).parameters, **inspect.signature(tester.metric).parameters}
    wanted = [tester.options]
    for name in set(names) - {*tester.inputs, "options"}:
        for value in OTHER_VALUES[name]:
            with contextlib.suppress(InputError):  # "total" is of one metric alone
                tester.metric(**tester.options | {name: value})
                wanted.append(tester.options | {name: value})
    return wanted


def stay_apart(metrics: dict[str, Metric], batches: list[dict[str, Tensor]]) -> None:
    """In one collection each metric reports what it reports alone; those that refuse the batches are left out."""
    alone = {}
    for name, metric in metrics.items():
        with contextlib.suppress(InputError, RuntimeError):
            one = MetricCollection({"one": metric.clone()})  # which hands on only what the metric takes
            for batch in batches:
                one.update(**batch)
            alone[name] = one.compute()["one"]
    assert len(alone) > 1
    numbers = {str(number): name for number, name in enumerate(alone)}  # a collection allows no dots in names
    together = MetricCollection({number: metrics[name] for number, name in numbers.items()})
    for batch in batches:
        together.update(**batch)
    for number, value in together.compute().items():
        same(value, alone[numbers[number]], rtol=0, atol=0)


def form(tester: MetricTester) -> str:
    return ", ".join(f"{name} {list(value.shape)}" for name, value in tester.inputs.items())


@pytest.mark.parametrize("inputs", sorted({form(case(name)) for name in METRICS}))
def test_metrics_of_other_options_stay_apart(inputs: str) -> None:
    """torchmetrics lets metrics share one state if names and first values agree, as those of no inputs do."""
    testers = [tester for tester in map(case, METRICS) if form(tester) == inputs]
    metrics = {f"{tester} {options}": tester.metric(**options) for tester in testers for options in variants(tester)}
    stay_apart(metrics, list(testers[0].batches([0, 5])))


def test_metrics_that_read_another_axis_stay_apart() -> None:
    """Four samples of four inputs, first all of one kind, then not."""
    kinds = [kind for kind in vars(M).values() if inspect.isclass(kind) and issubclass(kind, Metric)]
    kinds = [
        kind for kind in kinds if "sample_dim" in inspect.signature(kind).parameters and kind.__name__ in M.__all__
    ]
    metrics = {
        f"{kind.__name__} {axis}": kind(sample_dim=axis)
        for kind in kinds
        if kind is not M.PerInputMetric
        for axis in (0, 1)
    }
    square = PROBS[:, :4]
    batches = [{"probs": square[:1, :1].expand_as(square)}, {"probs": square}]
    truth = {"target": TARGET[:1].expand(4), "counts": COUNTS[:1].expand(4, -1)}
    stay_apart(metrics, [batch | truth for batch in batches])


def test_conformal_sets_and_bootstraps_stay_apart() -> None:
    mean = PROBS.mean(0)
    fitted = [
        M.ConformalClassifier(alpha, method).fit(mean, TARGET) for alpha in (0.3, 0.05) for method in ("lac", "aps")
    ]
    metrics: dict[str, Metric] = {f"{number}": M.ConformalSets(classifier) for number, classifier in enumerate(fitted)}
    drawn = M.ConformalClassifier(0.5, "aps", randomized=True).fit(mean, TARGET, generator=torch.Generator())
    for seed in (0, 1):
        metrics[f"seed {seed}"] = M.ConformalSets(drawn, generator=torch.Generator().manual_seed(seed))
    stay_apart(metrics, [{"probs": mean[:count], "target": TARGET[:count]} for count in (0, INPUTS)])
    pair = {"first": mean, "second": PROBS[0], "target": TARGET}
    bootstraps = {
        f"{metric.__name__} {seed}": M.PairedBootstrap(metric, seed=seed, resamples=20)
        for metric in (F.accuracy, F.brier_score)
        for seed in (0, 1)
    }
    stay_apart(bootstraps, [pair, pair])


def test_metrics_with_one_update_share_their_state() -> None:
    """Of the metrics over bins one counts for all, so that many cost no more than one."""
    kinds = [M.ExpectedCalibrationError, M.MaximumCalibrationError, M.RmsCalibrationError, M.OverconfidenceError]
    together = MetricCollection([kind() for kind in kinds] + [M.ReliabilityCurve(level=0.5), M.BrierDecomposition()])
    together.update(PROBS.mean(0), TARGET)
    assert sorted(map(len, together.compute_groups.values())) == [1, 5]


def test_metrics_that_are_never_uncertain_at_first_stay_apart() -> None:
    """All first values are 0, of inputs that are there."""
    kinds = [M.MutualInformation, M.PredictiveVariance, M.PredictiveStd, M.VariationRatio, M.PairwiseDisagreement]
    metrics: dict[str, Metric] = {kind.__name__: kind() for kind in kinds}
    metrics |= {"bits": M.MutualInformation(base=2), "predicted": M.PredictiveVariance(of="predicted")}
    stay_apart(metrics, [{"probs": PROBS[:1].expand_as(PROBS)}, {"probs": PROBS}])


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
