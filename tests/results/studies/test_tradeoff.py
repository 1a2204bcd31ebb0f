from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.checkout import need_folder
from tests.helpers.studies import tiny_runs
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import evaluate
from tsnn_uq.files import read_json
from tsnn_uq.results.studies import energy_curves, find_results, pareto_front, tradeoffs

RESULTS = need_folder("paper") / "results"


def beats(one, other):
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(rows):
    expected = [not any(beats(other, row) for other in rows) for row in rows]
    assert pareto_front(np.array(rows, dtype=float)).tolist() == expected
    assert any(expected)


@pytest.mark.parametrize("name", ["mnist-fc.csv", "mnist-fc-summary.csv"])
def test_means_and_spreads_are_those_of_the_rows(name):
    table = tradeoffs(RESULTS / name, ("accuracy", "predictive-entropy"))
    rows = pd.read_csv(RESULTS / "mnist-fc.csv")
    groups = rows.groupby(["family", "method"])
    assert len(table) == 2 * 3 * groups.ngroups
    for (family, method), runs in groups:
        of = table[(table["family"] == family) & (table["method"] == method)]
        accuracy = of[of["measure"] == "accuracy_pct"]
        assert accuracy["value"].tolist() == pytest.approx([100 * runs["accuracy"].mean()] * 3)
        assert accuracy["value_std"].tolist() == pytest.approx([100 * runs["accuracy"].std()] * 3)
        assert accuracy["cost"].tolist() == ["storage_bytes", "flops", "energy_pj"]
        means = [runs[cost].mean() for cost in accuracy["cost"]]
        assert accuracy["cost_value"].tolist() == pytest.approx(means)
    assert not table.loc[table["measure"] == "predictive_entropy_nats", "on_front"].any()
    accuracy = table[(table["measure"] == "accuracy_pct") & (table["cost"] == "energy_pj")]
    points = list(zip(-accuracy["value"], accuracy["cost_value"], strict=True))
    assert accuracy["on_front"].tolist() == [not any(beats(other, point) for other in points) for point in points]


def test_data_sets_are_not_mixed(tmp_path):
    rows = pd.read_csv(RESULTS / "mnist-fc.csv")
    path = tmp_path / "two.csv"
    pd.concat([rows, rows.assign(dataset="fashion-mnist")]).to_csv(path, index=False)
    with pytest.raises(InputError, match="data: expected one of fashion-mnist"):
        tradeoffs(path)
    assert set(tradeoffs(path, data="mnist")["dataset"]) == {"mnist"}
    with pytest.raises(InputError, match="data: expected one of"):
        tradeoffs(path, data="digits")


def test_what_is_no_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a CSV file of results"):
        find_results(tmp_path)
    path = tmp_path / "summary.csv"
    path.write_text("family,seeds\ndropout,3\n")
    with pytest.raises(InputError, match="expected the columns of a summary"):
        tradeoffs(path)
    with pytest.raises(InputError, match="measures: expected one of"):
        tradeoffs(RESULTS / "mnist-fc.csv", ("precision",))
    with pytest.raises(InputError, match="measures: expected at least one of accuracy"):
        tradeoffs(RESULTS / "mnist-fc.csv", ())
    rows = pd.read_csv(RESULTS / "mnist-fc.csv")
    rows.drop(columns="aurc", errors="ignore").to_csv(path, index=False)  # rows from before that column
    assert set(tradeoffs(path, ("ece",))["measure"]) == {"ece_pct"}
    with pytest.raises(InputError, match="none called aurc"):
        tradeoffs(path, ("ece", "aurc"))
    assert find_results(RESULTS / "mnist-fc.csv") == (RESULTS / "mnist-fc.csv", "mnist-fc")


def test_samples_cost_their_number_and_are_averaged_over_groups(tmp_path):
    runs = tiny_runs(tmp_path, samples=5)
    table = energy_curves(tmp_path, ("accuracy", "nll"))
    assert sorted(set(table["samples"])) == [1, 2, 4, 5]
    for method, (probs, labels) in runs.predictions().pairs().items():
        price = read_json(runs.folders[method] / "result.json")["row"]["energy_pj"]
        for samples, groups in {1: 5, 2: 2, 4: 1, 5: 1}.items():
            blocks = [probs[k * samples : (k + 1) * samples] for k in range(groups)]
            found = table[(table["method"] == method) & (table["samples"] == samples)].set_index("measure")
            assert found["energy_pj"].tolist() == pytest.approx([samples * price] * 2)
            for name, column, factor in (("accuracy", "accuracy_pct", 100), ("nll", "nll_nats", 1)):
                values = [factor * evaluate(block, labels)[name] for block in blocks]
                assert found.loc[column, "value"] == pytest.approx(sum(values) / groups)
    assert table["value_std"].isna().all()  # one seed
    with pytest.raises(InputError, match="expected the folder of a comparison"):
        energy_curves(tmp_path / "none")
