from __future__ import annotations

import math
from itertools import permutations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.figures import drawn_texts, faults
from tsnn_uq.checks import InputError
from tsnn_uq.results.figures import entropy_histogram, entropy_table

METHODS = ["float", "direct", "indirect", "distill"]
QUANTITIES = ["predictive_entropy", "mutual_information"]
# Certain, uniform, tied and lopsided predictions over four classes, exact in binary.
SHAPES = [(1, 0, 0, 0), (0.25, 0.25, 0.25, 0.25), (0.5, 0.5, 0, 0), (0.5, 0.25, 0.25, 0)]
rows = st.sampled_from(sorted({p for shape in SHAPES for p in permutations(shape)}))


def monte_carlo(samples: int) -> st.SearchStrategy[list]:
    """Inputs as (S predictions, label)."""
    one = st.tuples(st.lists(rows, min_size=samples, max_size=samples), st.integers(0, 3))
    return st.lists(one, min_size=1, max_size=8)


def entropy(p: list[float]) -> float:
    return -sum(x * math.log(x) for x in p if x > 0)


def many(generator: torch.Generator, count: int = 300, signal: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.randint(10, (count,), generator=generator)
    logits = torch.randn(5, count, 10, generator=generator) + signal * torch.nn.functional.one_hot(target, 10)
    return logits.softmax(-1), target


@given(st.sampled_from([1, 2, 3]).flatmap(monte_carlo))
def test_table_follows_the_definition(inputs: list[tuple[list[tuple[float, ...]], int]]) -> None:
    probs = torch.tensor([samples for samples, _ in inputs], dtype=torch.float64).movedim(1, 0)
    target = torch.tensor([label for _, label in inputs])
    measured: dict[tuple[str, str], list[float]] = {(q, g): [] for q in QUANTITIES for g in ("right", "wrong")}
    for samples, label in inputs:
        mean = [sum(column) / len(samples) for column in zip(*samples, strict=True)]
        group = "right" if mean.index(max(mean)) == label else "wrong"
        gain = entropy(mean) - sum(map(entropy, samples)) / len(samples)
        measured["predictive_entropy", group].append(entropy(mean))
        measured["mutual_information", group].append(gain if gain > 1e-12 else 0.0)
    largest = max(measured["mutual_information", "right"] + measured["mutual_information", "wrong"])
    top = {"predictive_entropy": math.log(4), "mutual_information": largest or math.log(4)}

    # Seven bins: halves and quarters of the range, where many of these values lie, are then no edges.
    table = entropy_table({"direct": (probs, target)}, bins=7)
    assert len(table) == 2 * 2 * 7
    for (quantity, group), part in table.groupby(["quantity", "group"]):
        values = measured[quantity, group]
        edges = [top[quantity] * i / 7 for i in range(8)]
        expected = [0] * 7
        for value in values:
            expected[min(int(7 * value / top[quantity]), 6)] += 1
        assert [*part["bin_low"], part["bin_high"].iloc[-1]] == pytest.approx(edges)
        assert part["count"].tolist() == expected
        share = [count / len(values) if values else math.nan for count in expected]
        assert part["share"].tolist() == pytest.approx(share, nan_ok=True)


def test_members_that_disagree_fully_carry_log_two() -> None:
    probs = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    table = entropy_table({"float": (probs, torch.tensor([0]))}, bins=4)
    for quantity in QUANTITIES:
        part = table[(table["quantity"] == quantity) & (table["group"] == "right")]
        assert part["count"].tolist() == [0, 0, 0, 1]
        assert part["bin_high"].iloc[-1] == pytest.approx(math.log(2))


def test_figure_draws_the_table_on_shared_axes(generator: torch.Generator) -> None:
    predictions = {"indirect": many(generator, signal=1), "float": many(generator, signal=1)}
    outlier = {"float": many(generator, 50, signal=0)[0]}
    table = entropy_table(predictions, outlier=outlier, bins=12)
    figure = entropy_histogram(table)
    panels = [(quantity, method) for quantity in QUANTITIES for method in ("float", "indirect")]
    for (quantity, method), axes in zip(panels, figure.axes, strict=True):
        part = table[(table["quantity"] == quantity) & (table["method"] == method)]
        drawn = [patch.get_data() for patch in axes.patches]
        assert len(drawn) == part["group"].nunique() == (3 if method == "float" else 2)
        for data, (_, group) in zip(drawn, part.groupby("group", sort=False), strict=True):
            np.testing.assert_array_equal(data.values, group["share"])
            np.testing.assert_array_equal(data.edges, [*group["bin_low"], group["bin_high"].iloc[-1]])
        assert axes.get_yscale() == "log"
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_ylim()[0] < table.loc[table["count"] > 0, "share"].min()
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim() == pytest.approx((0, 1.02 * math.log(10)))
    assert figure.axes[2].get_xlim() == figure.axes[3].get_xlim() != figure.axes[0].get_xlim()


def test_sizes_of_the_groups_stand_above_the_panel() -> None:
    probs = torch.eye(3)[[0, 0, 0, 1]][None]
    predictions = {"direct": (probs, torch.tensor([0, 0, 2, 1]))}
    table = entropy_table(predictions, outlier={"direct": probs.repeat(1, 500, 1)})
    figure = entropy_histogram(table.assign(foreign="letters"))
    assert figure.axes[0].get_title() == "direct\n3 right, 1 wrong\n2,000 letters"
    assert {"Share of group", "letters"} <= {text.get_text() for text in drawn_texts(figure)}


def test_no_wrong_prediction_draws_no_wrong_histogram() -> None:
    probs, target = torch.eye(3)[None], torch.arange(3)
    table = entropy_table({"float": (probs, target)})
    assert table.loc[table["group"] == "wrong", "share"].isna().all()
    assert [len(axes.patches) for axes in entropy_histogram(table).axes] == [1, 1]


@pytest.mark.parametrize(
    ("panels", "outliers"), [(1, True), (2, False), (3, False), pytest.param(4, True, marks=pytest.mark.slow)]
)
def test_no_text_overlaps_or_leaves_the_page(generator: torch.Generator, panels: int, outliers: bool) -> None:
    predictions = {method: many(generator, 20000) for method in METHODS[:panels]}
    outlier = {method: many(generator, 10000, 0)[0] for method in METHODS[:panels]} if outliers else None
    figure = entropy_histogram(entropy_table(predictions, outlier=outlier))
    assert faults(figure) == []
    assert figure.get_figwidth() == (3.5 if panels == 1 else 7.0)
    assert plt.get_fignums() == []


def test_arrays_and_tensors_are_one(generator: torch.Generator) -> None:
    probs, target = many(generator)
    expected = entropy_table({"float": (probs, target)}, outlier={"float": probs})
    assert entropy_table({"float": (probs.numpy(), target.numpy())}, outlier={"float": probs.numpy()}).equals(expected)


def test_bad_predictions_are_refused(generator: torch.Generator) -> None:
    probs, target = many(generator)
    with pytest.raises(InputError, match=r"mc_probs: expected a tensor of shape \[S, N, C\]"):
        entropy_table({"float": (probs[0], target)})
    with pytest.raises(InputError, match="target: expected 300 labels, one per input"):
        entropy_table({"float": (probs, target[:-1])})
    with pytest.raises(InputError, match="predictions: expected at least one input for float"):
        entropy_table({"float": (probs[:, :0], target[:0])})
    with pytest.raises(InputError, match="outlier: expected one of"):
        entropy_table({"float": (probs, target)}, outlier={"direct": probs})
    with pytest.raises(InputError, match="one number of classes, at least two, for all methods"):
        entropy_table({"float": (probs, target), "direct": (torch.full((1, 1, 2), 0.5), torch.tensor([0]))})
    with pytest.raises(InputError, match="bins: expected a positive whole number"):
        entropy_table({"float": (probs, target)}, bins=0)
