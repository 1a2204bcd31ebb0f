from __future__ import annotations

import pytest
import torch
from scipy.stats import bootstrap, spearmanr

from tsnn_uq.checks import InputError
from tsnn_uq.metrics import functional as metrics
from tsnn_uq.results.studies import compare_with_people

CLASSES = 4


@pytest.fixture
def people(generator):
    """Answers, and predictions that follow them."""
    counts = torch.randint(0, 3, (300, CLASSES), generator=generator)
    counts[:100] = 0  # a third of the inputs leave nobody in doubt
    counts[torch.arange(300), torch.randint(CLASSES, (300,), generator=generator)] += 50
    shares = counts / counts.sum(1, keepdim=True)
    probs = (10 * shares + torch.randn(5, 300, CLASSES, generator=generator)).softmax(-1)
    return counts, probs, counts.argmax(1)


def test_values_are_the_metrics_and_intervals_about_scipys(people):
    counts, probs, labels = people
    table = compare_with_people({"float": (probs, labels)}, counts, resamples=400)
    rows = table[table["method"] == "float"].set_index("measure")
    shares = counts.double() / counts.sum(1, keepdim=True)
    own = torch.special.entr(shares).sum(1)
    least = table[table["method"] == "people"].iloc[0]
    assert least["value"] == pytest.approx(own.mean().item())
    losses = -(shares * probs.double().mean(0).log()).sum(1)
    assert rows.loc["cross-entropy to people", "value"] == pytest.approx(losses.mean().item())
    entropy = metrics.predictive_entropy(probs, reduction="none")
    assert rows.loc["predictive entropy", "value"] == pytest.approx(spearmanr(entropy, own.mul(1e9).round()).statistic)
    theirs = bootstrap((losses.numpy(),), lambda x, axis: x.mean(axis), method="percentile", rng=0)
    low, high = rows.loc["cross-entropy to people", ["low", "high"]]
    reach = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.25 * reach)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.25 * reach)
    assert (rows["low"] <= rows["value"]).all()
    assert (rows["value"] <= rows["high"]).all()


def test_groups_hold_every_input_once_and_first_those_that_all_agree_on(people):
    counts, probs, labels = people
    table = compare_with_people({"float": (probs, labels)}, counts, resamples=2)
    groups = table[table["measure"] == "mean entropy"]
    assert groups["inputs"].sum() == 300
    agreed = (counts > 0).sum(1) == 1
    assert groups["people"].iloc[0] == 0
    assert groups["inputs"].iloc[0] == agreed.sum()
    assert groups["people"].is_monotonic_increasing
    entropy = metrics.predictive_entropy(probs, reduction="none").double()
    assert groups["value"].iloc[0] == pytest.approx(entropy[agreed].mean().item())
    weighted = (groups["value"] * groups["inputs"]).sum() / 300
    assert weighted == pytest.approx(entropy.mean().item())


def test_a_loss_without_bound_has_an_interval_without_bound(people):
    counts, _, labels = people
    certain = torch.nn.functional.one_hot(labels, CLASSES).double().expand(2, -1, -1)
    table = compare_with_people({"float": (certain, labels)}, counts, resamples=20)
    assert table[["value", "low", "high"]].iloc[-1].tolist() == [torch.inf] * 3


def test_one_seed_gives_one_table(people):
    counts, probs, labels = people
    tables = [compare_with_people({"float": (probs, labels)}, counts, resamples=20, seed=seed) for seed in (0, 0, 1)]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])


def test_answers_to_other_inputs_are_refused(people):
    counts, probs, labels = people
    with pytest.raises(InputError, match="counts: expected answers to the same inputs"):
        compare_with_people({"float": (probs, labels.roll(1))}, counts)
    with pytest.raises(InputError, match=r"counts: expected answers \[300, 4\]"):
        compare_with_people({"float": (probs, labels)}, counts[:10])
