from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tests.helpers.comparison import made_up_results
from tsnn_uq.checks import InputError
from tsnn_uq.results.bayesian_comparison import Limits, MethodComparison, compare_methods
from tsnn_uq.results.bayesian_comparison.predictive_checks import statistics

QUICK = {"draws": 60, "warm_up": 40, "chains": 2, "limits": Limits(r_hat=1.2, ess=20)}
FEW = {"draws": 10, "warm_up": 10, "chains": 2, "limits": Limits(r_hat=100, ess=-1e6)}  # no estimate of anything
RESULTS = made_up_results()
MEASURES = ("accuracy", "predictive_entropy")


@pytest.fixture(scope="module")
def comparison() -> MethodComparison:
    return compare_methods(RESULTS, MEASURES, seed=0, **QUICK)


def test_a_row_for_each_measure_family_and_method_and_for_their_mean(comparison: MethodComparison) -> None:
    table = comparison.table()
    keys = ["measure", "unit", "family", "quantized_part", "method"]
    expected = [
        (measure, unit, family, "all", method)
        for measure, unit in (("accuracy", "points"), ("predictive_entropy", "nats"))
        for family in ("dropout", "dropconnect", "all")
        for method in ("direct", "distill")
    ]
    assert list(table[keys].itertuples(index=False, name=None)) == expected
    assert len(table) == comparison.draws.shape[2]


def test_numbers_of_the_table_are_those_of_the_draws(comparison: MethodComparison) -> None:
    for number, row in comparison.table().iterrows():
        draws = comparison.draws[..., number].flatten().tolist()
        assert row["difference_mean"] == pytest.approx(sum(draws) / len(draws))
        np.testing.assert_allclose([row["low"], row["high"]], np.percentile(draws, [2.5, 97.5]))
        above = sum(value > 0 for value in draws) / len(draws)
        assert row["probability_of_direction"] == pytest.approx(max(above, 1 - above))
        inside = sum(row["rope_low"] <= value <= row["rope_high"] for value in draws) / len(draws)
        assert row["in_rope"] == pytest.approx(inside)
    entropy = RESULTS[(RESULTS["family"] == "dropout") & (RESULTS["method"] == "float")]["predictive_entropy"]
    rope = comparison.table().query("measure == 'predictive_entropy' and family == 'dropout'")["rope_high"]
    assert rope.tolist() == pytest.approx([0.05 * np.exp(np.log(entropy).mean())] * 2)


def test_mean_over_families_is_the_mean_of_their_draws(comparison: MethodComparison) -> None:
    table = comparison.table()
    for measure in MEASURES:
        for method in ("direct", "distill"):
            rows = table[(table["measure"] == measure) & (table["method"] == method)]
            pooled = rows.index[rows["family"] == "all"]
            own = rows.index[rows["family"] != "all"]
            torch.testing.assert_close(comparison.draws[..., pooled[0]], comparison.draws[..., own].mean(-1))


def test_differences_are_near_those_of_the_means(comparison: MethodComparison) -> None:
    table = comparison.table().set_index(["measure", "family", "method"])
    means = RESULTS.groupby(["family", "method"])["predictive_entropy"].apply(lambda x: np.exp(np.log(x).mean()))
    for family in ("dropout", "dropconnect"):
        row = table.loc[("predictive_entropy", family, "distill")]
        difference = means[family, "distill"] - means[family, "float"]
        assert row["low"] < difference < row["high"]
        assert row["difference_mean"] == pytest.approx(difference, rel=0.05)
        assert row["probability_of_direction"] == 1
        assert row["in_rope"] == 0


@pytest.mark.slow
def test_same_seed_same_numbers() -> None:
    one, again = (compare_methods(RESULTS, MEASURES, seed=0, **FEW) for _ in range(2))
    assert torch.equal(one.draws, again.draws)
    assert one.table().equals(again.table())


def test_diagnostics_name_every_scale_and_difference(comparison: MethodComparison) -> None:
    table = comparison.diagnostics()
    assert len(table) == 2 * (2 + 3) + 12
    assert "scale of distill (accuracy)" in set(table["quantity"])
    assert "accuracy of dropout, all, direct" in set(table["quantity"])
    assert (table["ess"] > 20).all()
    with pytest.raises(InputError, match="draws: expected at least 400 effective draws"):
        compare_methods(RESULTS, "accuracy", seed=0, **FEW | {"limits": Limits(r_hat=100)})


def test_predictions_from_the_posterior_look_like_the_runs(comparison: MethodComparison) -> None:
    check = comparison.predictive_check()
    assert len(check) == 2 * 3 * 3
    assert check["p_value"].between(0.02, 0.98).all()
    row = check.query("measure == 'accuracy' and method == 'direct' and statistic == 'max'").iloc[0]
    assert row["observed"] == pytest.approx(100 * RESULTS[RESULTS["method"] == "direct"]["accuracy"].max())
    assert check.equals(comparison.predictive_check())


@pytest.mark.slow
def test_an_outlier_is_noticed_by_the_predictive_check() -> None:
    results = made_up_results(families=["dropout"], methods=("float", "direct"), seeds=12)
    results.loc[3, "predictive_entropy"] *= 4
    check = compare_methods(results, ["predictive_entropy"], seed=0, **QUICK).predictive_check()
    largest = check[(check["method"] == "float") & (check["statistic"] == "max")]
    assert largest["p_value"].iloc[0] < 0.2
    assert check[(check["method"] == "direct") & (check["statistic"] == "max")]["p_value"].iloc[0] > 0.2


def test_statistics_of_a_hand_made_case() -> None:
    values = torch.tensor([[1.0, 3.0, 10.0, 14.0, 12.0]], dtype=torch.float64)
    member = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], dtype=torch.float64)
    found = {name: value.item() for name, value in statistics(values, member).items()}
    assert found == pytest.approx({"mean": 8, "spread": (10 / 3) ** 0.5, "max": 14})


@pytest.mark.slow
def test_data_sets_are_families_apart() -> None:
    results = pd.concat([made_up_results(["dropout"], ("float", "direct")).assign(dataset=name) for name in "ab"])
    table = compare_methods(results, "accuracy", seed=0, **FEW).table()
    assert table["dataset"].tolist() == ["a", "b", "all"]
    assert table["family"].tolist() == ["dropout", "dropout", "all"]


@pytest.mark.slow
def test_one_family_has_no_mean_and_parts_are_compared_with_the_same_float_runs() -> None:
    results = made_up_results(["plif"], ("float", "direct"), parts=("conv", "fc"))
    table = compare_methods(results, "accuracy", seed=0, rope={"accuracy": 0.3}, **FEW).table()
    assert table["family"].tolist() == ["plif", "plif"]
    assert table["quantized_part"].tolist() == ["conv", "fc"]
    assert table["rope_high"].tolist() == [0.3, 0.3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.drop(columns="seed"), "results: expected rows with family, .* got no seed"),
        (lambda r: r.iloc[:0], "results: expected rows with family, .* got no rows"),
        (lambda r: r[r["method"] == "float"], "results: expected runs of a method other than float"),
        (lambda r: r[r["method"] != "float"], "baseline: expected one of"),
        (
            lambda r: r[(r["method"] != "float") | (r["family"] == "dropout")],
            "baseline: expected float runs for dropconnect",
        ),
        (lambda r: r[r["seed"] == 0], "results: expected at least two seeds"),
        (lambda r: pd.concat([r, r.iloc[:1]]), "results: expected one row per seed"),
        (lambda r: r.assign(accuracy=np.nan), "measures: expected finite numbers in column accuracy"),
        (lambda r: r.assign(accuracy="high"), "measures: expected finite numbers in column accuracy"),
        (
            lambda r: r.assign(accuracy=r.groupby(["family", "method"])["accuracy"].transform("mean")),
            "measures: expected values of accuracy that differ",
        ),
    ],
)
def test_results_that_cannot_be_compared_are_refused(change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare_methods(change(RESULTS), "accuracy", seed=0)


def test_the_seeds_of_one_method_may_agree() -> None:
    """By coincidence, where test inputs are few."""
    results = RESULTS.assign(accuracy=RESULTS["accuracy"].where(RESULTS["method"] != "direct", 0.9))
    table = compare_methods(results, ["accuracy"], seed=0).table().set_index(["family", "method"])
    for family, rows in results[results["method"] == "float"].groupby("family"):
        row, difference = table.loc[(family, "direct")], 100 * (0.9 - rows["accuracy"].mean())
        assert row["low"] < difference < row["high"]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="measures: expected values of storage_bytes that differ"):
        compare_methods(RESULTS.assign(storage_bytes=1e6), ["storage_bytes"], seed=0)
    with pytest.raises(InputError, match="measures: expected one of"):
        compare_methods(RESULTS, ["acuracy"], seed=0)
    with pytest.raises(InputError, match="measures: expected at least one column"):
        compare_methods(RESULTS, [], seed=0)
    with pytest.raises(InputError, match="rope: expected one of"):
        compare_methods(RESULTS, ["accuracy"], seed=0, rope={"ece": 1})
    with pytest.raises(InputError, match="draws: expected at least 4 per chain"):
        compare_methods(RESULTS, ["accuracy"], seed=0, draws=2)
    with pytest.raises(InputError, match="chains: expected a positive whole number"):
        compare_methods(RESULTS, ["accuracy"], seed=0, chains=0)
    results = made_up_results(["plif"], ("float", "direct"), parts=("conv", "fc"))
    with pytest.raises(InputError, match="baseline: expected direct runs for plif of one"):
        compare_methods(results, ["accuracy"], seed=0, baseline="direct")
