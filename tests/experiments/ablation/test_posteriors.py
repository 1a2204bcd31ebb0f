"""Posteriors of a finals' networks: one temperature for all seeds, chosen without the test set."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.experiments.ablation.test_stages import quick
from tsnn_uq.checks import InputError
from tsnn_uq.experiments import Context, Settings
from tsnn_uq.experiments.ablation import posteriors
from tsnn_uq.files import read_json


def test_each_network_gets_its_posteriors_and_all_are_an_ensemble(tmp_path):
    stage = quick(tmp_path, seeds=2, epochs=4, hidden=(32,))
    options = {"temperatures": (0.01, 1.0), "members": 3, "settings": {"epochs": 1, "samples": 2}}
    table = posteriors(stage, **options)
    losses = {
        heat: read_json(tmp_path / "posteriors" / f"ternary-{heat}-0" / "result.json")["validation_nll"]
        for heat in ("0.01", "1")
    }
    best = min(losses, key=losses.get)
    methods = [f"ternary posterior at temperature {best}", "laplace posterior", "swag posterior"]
    counts = table.groupby("method").size().to_dict()
    masks = [f"{method}, masks{more}" for more in ("", ", 1 epochs more") for method in ("float", "direct")]
    assert list(dict.fromkeys(table["method"]))[:4] == masks
    assert {name: counts.pop(name) for name in masks} == dict.fromkeys(masks, 4)
    continued = Settings.load(tmp_path / "runs" / "continued" / "dropout-all-direct-1" / "config.toml")
    assert (continued.epochs, continued.start_from) == (1, str((tmp_path / "runs" / "none").resolve()))
    assert counts == dict.fromkeys(methods, 4) | {"ensemble of 3 float": 1, "ensemble of 3 direct": 1}
    other = next(heat for heat in losses if heat != best)
    assert not (tmp_path / "posteriors" / f"ternary-{other}-1").exists()
    written = pd.read_csv(tmp_path / "posteriors.csv")
    pd.testing.assert_frame_equal(written, table)

    told = []
    again = posteriors(stage, **options, context=Context(progress=lambda name, *_: told.append(name)))
    pd.testing.assert_frame_equal(again, table)
    both = posteriors(stage, **options | {"noises": ("auto", "weights"), "members": 0})
    assert both["method"].str.startswith("ternary-weights posterior at temperature").sum() == 4
    assert not both["method"].str.startswith("ensemble").any()
    same = both[both["method"].isin(methods)].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, table[table["method"].isin(methods)].reset_index(drop=True))
    ternary = table[table["method"] == "ensemble of 3 direct"]
    assert (ternary["sparsity"] > 0.1).all()
    assert ternary["validation_nll"].isna().all()  # one seed's validation part has training images of the others


def test_what_would_fail_later_is_refused_before_anything_is_trained(tmp_path):
    for wrong in ({"noises": ("loud",)}, {"members": -1}, {"temperatures": ()}, {"temperatures": (-1.0,)}):
        with pytest.raises(InputError, match=f"{next(iter(wrong)).rstrip('s')}s?: expected"):
            posteriors(quick(tmp_path), **wrong)
    assert list(tmp_path.iterdir()) == []
