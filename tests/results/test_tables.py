from __future__ import annotations

import io
import math
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tsnn_uq.checks import InputError
from tsnn_uq.results.tables import (
    COLUMNS,
    read_results,
    read_table,
    render_table,
    summarize,
    write_results,
    write_summary,
)

NAMES = ("family", "quantized_part", "method", "seed")
numbers = st.one_of(st.sampled_from([0.0, 1.0, 0.1 + 0.2, 5e-324, 1e300, math.nan]), st.floats(allow_infinity=True))


def row(
    family: str = "dropout", part: str = "all", method: str = "direct", seed: int = 0, **values: Any
) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS, 0.5) | dict(zip(NAMES, (family, part, method, seed), strict=True)) | values


def shown(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of the table on a terminal of 120 columns."""
    output = io.StringIO()
    Console(width=120, file=output).print(render_table(summarize(rows)))
    return output.getvalue().splitlines()


@given(st.lists(numbers, min_size=1, max_size=5))
def test_every_float_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("results") / "results.csv"
    write_results(path, [row(seed=seed, nll=value) for seed, value in enumerate(values)])
    assert list(map(repr, read_results(path)["nll"].astype(float))) == list(map(repr, values))


def test_rows_are_sorted_and_columns_in_order(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    keys = [("b", "none", "float", 0), ("a", "none", "float", 0), ("a", "fc", "direct", 0), ("a", "all", "distill", 0)]
    keys += [
        ("a", "all", "indirect", 10),
        ("a", "all", "indirect", 9),
        ("a", "all", "direct", 1),
        ("a", "conv", "direct", 0),
    ]
    write_results(path, [dict(reversed(row(*key, bits=2).items())) for key in keys])
    results = read_results(path)
    assert tuple(results.columns) == (*COLUMNS, "bits")
    assert list(results[list(NAMES)].itertuples(index=False, name=None)) == [
        ("a", "none", "float", 0),
        ("a", "conv", "direct", 0),
        ("a", "fc", "direct", 0),
        ("a", "all", "direct", 1),
        ("a", "all", "indirect", 9),
        ("a", "all", "indirect", 10),
        ("a", "all", "distill", 0),
        ("b", "none", "float", 0),
    ]


def test_what_was_scaled_is_in_the_summary_where_rows_have_it() -> None:
    rows = [row(seed=seed, temperature=1 + seed, scaled_ece=0.01 * seed) for seed in range(3)]
    summary = summarize(rows).iloc[0]
    assert (summary["temperature_mean"], summary["temperature_std"]) == pytest.approx((2, 1))
    assert (summary["scaled_ece_pct_mean"], summary["scaled_ece_pct_std"]) == pytest.approx((1, 1))
    assert not any("scaled" in name or "temperature" in name for name in summarize([row()]))
    with pytest.raises(InputError, match="results: expected numbers in column scaled_ece"):
        summarize([row(scaled_ece="little")])


def test_the_risk_coverage_area_is_in_the_summary_where_rows_have_it() -> None:
    rows = [row(seed=0, aurc=0.002, scaled_aurc=0.001), row(seed=1, aurc=0.004), row("plif")]  # the last two are older
    first, second = summarize(rows).to_dict("records")
    assert (first["aurc_permille_mean"], first["scaled_aurc_permille_mean"]) == pytest.approx((3, 1))
    assert math.isnan(second["aurc_permille_mean"])
    assert not any("aurc" in name for name in summarize([row()]))


def test_temperatures_that_were_not_determined_are_counted_and_not_averaged(tmp_path: Path) -> None:
    """Four runs: two with an optimum, one flat, one at a bound, whose scaled values are NaN."""
    found = [(1.5, "optimum", 0.1), (1.0, "flat", 0.4), (0.01, "lower bound", None), (2.5, "optimum", 0.3)]
    rows = [
        row(seed=seed, temperature=temperature, scaled_nll=nll, temperature_outcome=outcome)
        for seed, (temperature, outcome, nll) in enumerate(found)
    ]
    rows += [rows[2] | {"method": "distill"}, row("plif", temperature=3.0, scaled_nll=0.2)]  # of an older version
    write_results(tmp_path / "results.csv", rows)
    results = read_results(tmp_path / "results.csv")
    assert results["temperature"].tolist() == [1.5, 1.0, 0.01, 2.5, 0.01, 3.0]
    assert list(results.columns)[-1] == "temperature_outcome"
    summary = summarize(results)
    assert list(summary.columns)[-2:] == ["temperature_undetermined", "temperature_at_bound"]
    some, none, older = summary.to_dict("records")
    assert (some["seeds"], some["temperature_undetermined"], some["temperature_at_bound"]) == (4, 2, 1)
    assert some["temperature_mean"] == 2
    assert some["temperature_std"] == pytest.approx(math.sqrt(0.5))
    assert some["scaled_nll_nats_mean"] == pytest.approx((0.1 + 0.4 + 0.3) / 3)
    assert (none["temperature_undetermined"], none["temperature_at_bound"]) == (1, 1)
    assert (older["temperature_mean"], older["temperature_undetermined"]) == (3, 0)
    write_summary(tmp_path / "summary.csv", summary)
    line = (tmp_path / "summary.csv").read_text().splitlines()[2].split(",")
    written = dict(zip(summary.columns, line, strict=True))
    assert written["temperature_mean"] == written["temperature_std"] == written["scaled_nll_nats_mean"] == ""
    assert "temperature_undetermined" not in summarize([row(temperature=1.0)])


def test_bad_rows_are_refused_and_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    write_results(path, [row()])
    before = path.read_bytes()
    lacking = {name: value for name, value in row().items() if name not in ("ece", "flops")}
    with pytest.raises(InputError, match=r"rows\[1\]: expected the columns family"):
        write_results(path, [row(), lacking])
    with pytest.raises(InputError, match="rows: expected the columns"):
        write_results(path, pd.DataFrame([lacking]))
    with pytest.raises(InputError, match="rows: expected at least one row of results"):
        write_results(path, [])
    with pytest.raises(InputError, match="rows: expected fractions from 0 to 1 in column accuracy"):
        write_results(path, [row(), row(accuracy=97.5)])
    with pytest.raises(InputError, match="rows: expected numbers in column energy_pj"):
        write_results(path, [row(energy_pj="much")])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_no_results_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with pytest.raises(InputError, match=r"results\.csv: expected a CSV file of results; No such file"):
        read_results(path)
    path.write_text("")
    with pytest.raises(InputError, match=r"results\.csv: expected a CSV file of results; No columns"):
        read_results(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff\xfe")
    with pytest.raises(InputError, match=r"results\.csv: expected a CSV file of results; "):
        read_results(path)
    path.write_text("name,age\nAda,36\n")
    with pytest.raises(InputError, match=r"results\.csv: expected the columns family"):
        read_results(path)
    path.write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(InputError, match=r"results\.csv: expected a CSV file of results"):
        read_results(path)


def test_names_that_pandas_takes_for_missing_stay(tmp_path: Path) -> None:
    write_results(tmp_path / "results.csv", [row(family="NA", part="None")])
    assert read_results(tmp_path / "results.csv").loc[0, ["family", "quantized_part"]].tolist() == ["NA", "None"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_summary_is_mean_and_sample_deviation_in_the_unit_of_its_name(values: list[float]) -> None:
    rows = [row(seed=s, accuracy=v, ece=v, storage_bytes=v, flops=v, energy_pj=v) for s, v in enumerate(values)]
    summary = summarize(pd.DataFrame(rows)).iloc[0]
    assert summary["seeds"] == len(values)
    units = {"accuracy_pct": 0.01, "ece_pct": 0.01, "storage_mb": 1e6, "flops_m": 1e6, "energy_pj": 1}
    for name, unit in units.items():
        assert summary[f"{name}_mean"] == pytest.approx(statistics.fmean(values) / unit)
        if len(values) == 1:
            assert math.isnan(summary[f"{name}_std"])
        else:
            assert summary[f"{name}_std"] == pytest.approx(statistics.stdev(values) / unit, abs=1e-12 / unit)


def test_summary_reproduces_rows_of_the_paper() -> None:
    # Dropconnect, indirect, of Wu et al.: 97.68 +- 0.11 %, 53.77 +- 0.07 %, 0.22 MB, 0.41 M; a spread of +-d over three
    # seeds m - d, m, m + d has the sample deviation d.
    rows = [row("float", "none", "float", 0)] + [
        row("dropconnect", "fc", "indirect", s, accuracy=0.9768 + s * 0.0011, sparsity=0.5377 + s * 0.0007, flops=4.1e5)
        for s in (-1, 0, 1)
    ]
    summary = summarize(rows).set_index("method").loc["indirect"]
    assert summary["accuracy_pct_mean"] == pytest.approx(97.68)
    assert summary["accuracy_pct_std"] == pytest.approx(0.11)
    assert summary["sparsity_pct_std"] == pytest.approx(0.07)
    assert (summary["flops_m_mean"], summary["flops_m_std"]) == pytest.approx((0.41, 0))


def test_summary_keeps_datasets_apart_and_methods_in_order() -> None:
    rows = [
        row(method=m, seed=s, dataset=d) for d in ("n", "m") for m in ("distill", "direct", "float") for s in (0, 1)
    ]
    summary = summarize(rows)
    assert summary.columns[:5].tolist() == ["dataset", "family", "quantized_part", "method", "seeds"]
    assert summary["dataset"].tolist() == ["m"] * 3 + ["n"] * 3
    assert summary["method"].tolist() == ["float", "direct", "distill"] * 2
    assert summary["seeds"].tolist() == [2] * 6


def test_a_seed_that_counts_twice_is_refused() -> None:
    message = "expected one row for each family"
    with pytest.raises(InputError, match=message):
        summarize([row(seed=3, bits=2), row(seed=3, bits=4)])


def test_summary_file_leaves_the_deviation_of_one_seed_empty(tmp_path: Path) -> None:
    summary = summarize([row(accuracy=0.1 + 0.2), row(method="float", part="none")])
    write_summary(tmp_path / "summary.csv", summary)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "summary.csv"), summary)
    header, first, _ = (tmp_path / "summary.csv").read_text().splitlines()
    assert dict(zip(header.split(","), first.split(","), strict=True))["accuracy_pct_std"] == ""


def test_table_shows_the_numbers_in_120_columns() -> None:
    values = {"accuracy": 1.0, "storage_bytes": 224250, "energy_pj": 9.2e8, "flops": 4.1e5, "train_seconds": 98765.43}
    rows = [row("dropconnect", "conv", "indirect", seed, **values) for seed in (0, 1)]
    rows.append(row("dropconnect", "none", "float", **values | {"storage_bytes": 3588000, "energy_pj": 3.1e10}))
    lines = shown([entry | {"dataset": "N-MNIST"} for entry in rows] + [row("plif", dataset="MNIST", ece=math.nan)])
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 120
    assert "…" not in text
    ternary = " ".join(next(line for line in lines if "indirect" in line).split())
    assert ternary.startswith("dropconnect conv indirect 2 100.00 ± 0.00 50.00 0.5000 0.5000 0.5000 0.5000 50.00 ")
    assert ternary.endswith(" 0.22 9.20e8 0.41 98765.4")
    full = next(line for line in lines if "float" in line).split()
    assert full[4:6] == ["100.00", "50.00"]  # one seed: no spread
    assert full[-4:] == ["3.59", "3.10e10", "0.41", "98765.4"]
    assert next(line for line in lines if "plif" in line).split()[10] == "-"
    assert [line.strip() for line in lines if line.strip() in ("MNIST", "N-MNIST")] == ["MNIST", "N-MNIST"]


def test_storage_below_a_megabyte_is_in_kilobytes_for_all_rows() -> None:
    lines = shown([row(storage_bytes=224250), row("plif", storage_bytes=500)])
    assert "kB" in "\n".join(lines)
    assert "MB" not in "\n".join(lines)
    assert "224.25" in next(line for line in lines if "dropout" in line)
    assert " 0.50 " in next(line for line in lines if "plif" in line)


def test_names_are_read_as_they_are_and_lines_before_the_table_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("# of other rows\nmethod,family,ece\nmine.py#Method,NA,\nNone,null,0.1\n", encoding="utf-8")
    table = read_table(path)
    assert table["method"].tolist() == ["mine.py#Method", "None"]
    assert table["family"].tolist() == ["NA", "null"]
    assert table["ece"].isna().tolist() == [True, False]
    with pytest.raises(InputError, match="expected a summary"):
        read_table(path, "a summary", ("method", "seeds"))
