from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from tests.helpers.experiments import tiny
from tests.helpers.studies import tiny_runs
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import load_network, run
from tsnn_uq.results.studies import require_runs, weight_histograms

CODES = (-1, 0, 1)


def layers_of(folder):
    modules = load_network(folder).modules()
    return [m.weight.detach().flatten().tolist() for m in modules if isinstance(m, nn.Linear | nn.Conv2d)]


def sign(value):
    return (value > 0) - (value < 0)


@pytest.mark.parametrize("family", ["dropout", "dropconnect", "slayer", "plif"])
def test_histograms_follow_the_definition(family, tmp_path):
    runs = tiny_runs(tmp_path, family=family)
    table = weight_histograms(runs, bins=6)
    before, after = (layers_of(runs.folders[method]) for method in ("float", "direct"))
    assert table["layer"].nunique() == len(before) == len(after)
    for (_, rows), floats, ternary in zip(table.groupby("layer", sort=False), before, after, strict=True):
        edges = [*rows["bin_low"].iloc[:6], rows["bin_high"].iloc[5]]
        assert edges[0] == pytest.approx(-edges[-1])
        beyond = sum(abs(value) > edges[-1] for value in floats)
        assert beyond <= 0.001 * len(floats) + 1
        counts = {code: [0] * 6 for code in CODES}
        for value, coded in zip(floats, ternary, strict=True):
            place = max((n for n in range(6) if value >= edges[n]), default=0)
            counts[sign(coded)][place] += 1
        for code in CODES:
            found = rows[rows["code"] == code]
            assert found["count"].tolist() == counts[code]
            assert found["code_share"].unique() == pytest.approx(sum(counts[code]) / len(floats))
            assert found["share"].sum() == pytest.approx(sum(counts[code]) / len(floats))
        threshold = 0.8 * sum(map(abs, floats)) / len(floats)  # the factor of the method direct
        assert rows["threshold"].unique() == pytest.approx(threshold, rel=1e-5)
        same = [sign(c) == sign(v) * (abs(v) > threshold) for v, c in zip(floats, ternary, strict=True)]
        assert rows["agreement"].unique() == pytest.approx(sum(same) / len(same), abs=2 / len(same))


def test_layers_that_stay_float_are_left_out(tmp_path):
    for method, part in (("float", "none"), ("direct", "conv")):
        run(tiny(method=method, family="plif", quantized_part=part), tmp_path / "runs")
    table = weight_histograms(require_runs(tmp_path, family="plif", part="conv"))
    assert table["layer"].unique().tolist() == ["conv 1: 1-2", "conv 2: 2-2"]


def test_a_learned_threshold_is_not_known_afterwards(tmp_path):
    table = weight_histograms(tiny_runs(tmp_path, rule="learned"))
    assert table[["threshold", "agreement"]].isna().all(axis=None)
    assert table.groupby("layer")["share"].sum().to_list() == pytest.approx([1, 1])


def test_float_and_ternary_are_both_needed(tmp_path):
    runs = tiny_runs(tmp_path)
    for method in ("float", "direct"):
        alone = replace(runs, folders={method: runs.folders[method]})
        with pytest.raises(InputError, match="methods: expected float and a ternary method"):
            weight_histograms(alone)
    with pytest.raises(InputError, match="bins: expected a positive whole number"):
        weight_histograms(runs, bins=0)
