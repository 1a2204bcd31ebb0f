"""The page of anybody's predictions: what they allow is drawn, the rest is named with what it needs."""

from __future__ import annotations

import pytest
import torch

from tests.results.page.elements import parse, table
from tsnn_uq.results.page import prediction_figures, write_predictions_report
from tsnn_uq.results.paired_differences import paired_differences
from tsnn_uq.results.predictions import NamedPredictions, Part, Predictions

N, C = 40, 4


def one(seed, sharp=2.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(C, (N,), generator=torch.Generator().manual_seed(0))
    noise = torch.randn(3, N, C, generator=generator)
    return Predictions(Part.from_logits(sharp * torch.nn.functional.one_hot(labels, C) + noise, labels))


@pytest.fixture(scope="module")
def networks():
    return NamedPredictions({"<mine>": [one(1), one(2)], "float": one(3, 3.0)}, reference="float", title="A & B")


@pytest.fixture
def root(networks, unrendered, tmp_path):
    write_predictions_report(networks, tmp_path / "page.html", sources={"float": ["float.npz"]})
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    return parse((tmp_path / "page.html").read_text(encoding="utf-8"))


def test_networks_are_compared_under_their_names(root, networks):
    assert root.all("h1")[0].text() == "A & B"
    rows = table(root, "Accuracy, calibration and uncertainty").all("tbody")[0].all("tr")
    assert [row.all("th")[0].text().strip() for row in rows] == ["<mine>", "float"]
    captions = [caption.text() for caption in root.all("caption")]
    assert "Size and cost" not in captions  # nobody said what they cost
    assert "After temperature scaling" not in captions
    (row,) = table(root, "Differences from float, with 95 % intervals").all("tbody")[0].all("tr")
    found = paired_differences(networks).set_index("measure").loc["accuracy"]
    shown = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(100 * found[name] for name in ("difference", "low", "high")))
    assert row.all("td")[0].text() == shown
    predictions = table(root, "What each network's predictions are").all("tbody")[0].all("tr")
    assert len(predictions) == 3
    assert "float.npz" in predictions[2].text()
    assert "McNemar's test of equal accuracies with float" in captions


def test_what_is_drawn_and_what_is_not(root):
    drawn = {figure.all("strong")[0].text() for figure in root.all("figure")}
    expected = {"Reliability.", "Entropy and mutual information.", "Selective prediction.", "Variance, input by input."}
    assert drawn == expected | {"Fewer samples, fewer time steps.", "The most uncertain inputs."}
    notes = [note.text() for note in root.all("p", class_="note") if "not drawn" in note.text()]
    for needed in ("validation_probs", "foreign_NAME_probs", "answers", "storage_bytes"):
        assert any(needed in note for note in notes), needed


def test_one_network_alone_makes_a_page_without_differences(unrendered, tmp_path):
    write_predictions_report(NamedPredictions({"mine": one(1)}), tmp_path / "page.html")
    root = parse((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not any("Differences" in caption.text() or "McNemar" in caption.text() for caption in root.all("caption"))
    assert "Variance, input by input: not drawn." in root.text()


def test_figures_may_be_drawn_one_by_one(networks):
    drawings = prediction_figures(networks)
    drawn = drawings["Reliability"]()
    assert set(drawn.table["method"]) == {"<mine>", "float"}
    assert drawn.figure.axes
