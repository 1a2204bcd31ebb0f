from __future__ import annotations

import pytest

from tests.helpers.studies import tiny_runs
from tsnn_uq.checks import InputError
from tsnn_uq.data import load, load_test
from tsnn_uq.detection import SpikeCountPatterns, hidden_features
from tsnn_uq.experiments import load_network
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.results.studies import SCORES, foreign_detection
from tsnn_uq.seeds import generator_for
from tsnn_uq.uncertainty import mc_predict


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tiny_runs(tmp_path_factory.mktemp("comparison"))


def test_scores_are_those_of_the_runs_networks(runs):
    table = foreign_detection(runs, near=["digits:rotate=90"], far=["digits:noise=1"], inputs=60, fitted=200)
    assert set(table["score"]) == set(SCORES)
    assert len(table) == 2 * len(SCORES) * 4
    own, foreign = load_test("digits").subset(60), load_test("digits:rotate=90").subset(60)
    for method in ("float", "direct"):
        network = load_network(runs.folders[method])
        rows = table[(table["method"] == method) & (table["data"] == "digits:rotate=90")].set_index("score")
        assert set(rows["distance"]) == {"near"}
        probs = [
            mc_predict(network, part.images, samples=2, generator=generator_for(0, "predict", part.name))
            for part in (own, foreign)
        ]
        entropies = [metrics.predictive_entropy(part, reduction="none") for part in probs]
        assert rows.loc["entropy", "auroc"] == pytest.approx(float(metrics.ood_auroc(*entropies)))
        train = load("digits").train.subset(200)
        detector = SpikeCountPatterns().fit(hidden_features(network, train))
        scores = [detector.score(hidden_features(network, part.images)) for part in (own, foreign)]
        assert rows.loc["scp", "auroc"] == pytest.approx(float(metrics.ood_auroc(*scores)))
        assert rows.loc["scp", "fpr95"] == pytest.approx(float(metrics.fpr_at_tpr(*scores)))


def test_some_scores_of_another_layer_alone(runs):
    table = foreign_detection(runs, far=["digits:noise=1"], scores=["knn", "energy"], layer="3", inputs=40, fitted=100)
    assert list(dict.fromkeys(table["score"])) == ["knn", "energy"]
    assert list(dict.fromkeys(table["data"])) == ["digits:noise=1", "mean"]


def test_what_does_not_fit_is_refused(runs):
    with pytest.raises(InputError, match="scores: expected one of"):
        foreign_detection(runs, far=["noise"], scores=["entropies"])
    with pytest.raises(InputError, match="at least one data set"):
        foreign_detection(runs, scores=["energy"], fitted=20, inputs=20)
    with pytest.raises(InputError, match="layer: expected one of"):
        foreign_detection(runs, far=["digits:noise=1"], layer="last", fitted=20, inputs=20)
