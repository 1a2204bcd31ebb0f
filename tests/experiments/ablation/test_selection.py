"""Weights are chosen by the validation split, for sureness at no loss of accuracy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from tsnn_uq.checks import InputError
from tsnn_uq.experiments.ablation import best_terms, chosen_everywhere, chosen_weights, finalists


def row(text, accuracy, variance, *, aurc=0.002, seed=0, method="direct", calibration="temperature", **more):
    return {
        "dataset": "mnist",
        "family": "dropout",
        "method": method,
        "term": "+".join(part.partition(":")[0] for part in text.split("+")),
        "regularizer": text,
        "seed": seed,
        "calibration": calibration,
        "validation_accuracy": accuracy,
        "validation_aurc": aurc,
        "validation_predictive_variance_correct": variance,
        **more,
    }


BASE = row("none", 0.960, 0.010)


def choice(*rows):
    return chosen_weights(pd.DataFrame([BASE, *rows])).to_dict("records")


def test_the_smallest_variance_among_those_that_cost_no_accuracy():
    rows = [row("variance:1", 0.961, 0.008), row("variance:5", 0.9585, 0.006), row("variance:20", 0.957, 0.002)]
    (chosen,) = choice(*rows)
    assert chosen["regularizer"] == "variance:5"  # 0.15 points below is within 0.2
    assert chosen["gain"] == pytest.approx(0.4)
    assert chosen["acceptable"]


def test_a_worse_ranking_of_errors_is_not_acceptable():
    (chosen,) = choice(row("variance:1", 0.960, 0.009), row("variance:5", 0.960, 0.004, aurc=0.0023))
    assert chosen["regularizer"] == "variance:1"


def test_where_none_is_acceptable_the_most_accurate_is_taken_and_told():
    (chosen,) = choice(row("entropy:1", 0.90, 0.001), row("entropy:0.1", 0.95, 0.004))
    assert (chosen["regularizer"], chosen["acceptable"]) == ("entropy:0.1", False)


def test_weights_without_a_temperature_are_not_taken():
    nan = float("nan")
    (chosen,) = choice(
        row("variance:1", nan, nan, aurc=nan), row("variance:5", 0.96, 0.009), row("variance:9", 0.5, 0.1)
    )
    assert (chosen["regularizer"], chosen["acceptable"]) == ("variance:5", True)
    (chosen,) = choice(row("variance:1", nan, nan, aurc=nan), row("variance:9", 0.5, 0.1))
    assert (chosen["regularizer"], chosen["acceptable"]) == ("variance:9", False)
    (chosen,) = choice(row("variance:1", nan, nan, aurc=nan))
    assert (chosen["regularizer"], chosen["acceptable"]) == ("variance:1", False)


def test_what_was_measured_on_the_test_set_or_without_temperature_counts_for_nothing():
    plain = [row("variance:5", 0.96, 0.0001, calibration="none"), row("variance:1", 0.96, 0.02, calibration="none")]
    scaled = [row("variance:5", 0.96, 0.009, ece=0.1), row("variance:1", 0.96, 0.008, ece=0.99)]
    (chosen,) = choice(*plain, *scaled)
    assert chosen["regularizer"] == "variance:1"
    swapped = [one | {"ece": 1 - one["ece"], "aurc": 9.0} for one in scaled]
    assert choice(*plain, *swapped) == [chosen]


def test_weights_are_compared_on_the_seeds_that_all_of_them_have():
    """The chosen weight has more seeds later on, and stays chosen."""
    rows = [row("variance:1", 0.96, 0.009), row("variance:5", 0.96, 0.007)]
    later = [row("variance:5", 0.93, 0.05, seed=1), row("none", 0.96, 0.01, seed=1)]
    assert choice(*rows) == choice(*rows, *later)


def test_methods_choose_for_themselves():
    rows = [row("variance:1", 0.96, 0.009), row("variance:5", 0.96, 0.007)]
    others = [
        row("none", 0.97, 0.01, method="distill"),
        row("variance:1", 0.97, 0.002, method="distill"),
        row("variance:5", 0.97, 0.003, method="distill"),
    ]
    chosen = choice(*rows, *others)
    assert [(one["method"], one["regularizer"]) for one in chosen] == [
        ("direct", "variance:5"),
        ("distill", "variance:1"),
    ]


def test_the_best_terms_are_acceptable_and_gain_most(tmp_path):
    rows = pd.DataFrame(
        [
            BASE,
            row("variance:1", 0.96, 0.008),
            row("variance:5+outliers:0.5", 0.96, 0.004),
            row("entropy:1", 0.90, 0.001),
            row("membrane:1", 0.96, 0.006),
        ]
    )
    assert best_terms(rows) == ["variance:5+outliers:0.5", "membrane:1"]
    with pytest.raises(InputError, match="count: expected at most the 3 acceptable terms of direct"):
        best_terms(rows, count=4)
    rows.to_csv(tmp_path / "screening.csv", index=False)
    assert finalists([], [tmp_path / "screening.csv"]) == best_terms(rows)
    assert finalists(["variance:1"]) == ["variance:1"]


def test_no_run_without_a_term_is_refused():
    with pytest.raises(InputError, match="rows: expected dropout, direct without a term"):
        chosen_weights(pd.DataFrame([row("variance:1", 0.96, 0.01)]))


def test_terms_and_a_screening_are_either_or(tmp_path):
    with pytest.raises(InputError, match=r"terms: expected .*; got neither"):
        finalists([])
    with pytest.raises(InputError, match=r"terms: expected .*; got both"):
        finalists(["variance:1"], [tmp_path])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for name in ("missing.csv", "other.csv"):
        with pytest.raises(InputError, match="expected a table that tsnn-uq ablation"):
            finalists([], [tmp_path / name])


def drawn_table(generator, dataset, families):
    """Rows of two terms at three weights each, of one or two seeds for each weight."""
    texts = ["none", *(f"{term}:{weight}" for term in ("variance", "entropy") for weight in (1, 2, 3))]
    return pd.DataFrame(
        row(
            text,
            generator.uniform(0.9, 0.905),
            generator.uniform(0.005, 0.01),
            aurc=generator.uniform(0.0018, 0.0021),
            seed=seed,
            method=method,
            family=family,
            dataset=dataset,
        )
        for family, method, text in product(families, ("direct", "float"), texts)
        for seed in range(2 if text == "none" else generator.integers(1, 3))
    )


def ranked_by_loops(tables, method):
    """The rule, term by term and text by text: acceptable everywhere, then the largest mean gain."""
    rows = [row for table in tables for row in table.to_dict("records") if row["method"] == method]
    found = []
    for term in ("variance", "entropy"):
        of_texts = {}
        for text in dict.fromkeys(row["regularizer"] for row in rows if row["term"] == term):
            fine, gains, differences = True, [], []
            for dataset in dict.fromkeys(row["dataset"] for row in rows):
                own = [row for row in rows if row["dataset"] == dataset]
                gains.append([])
                differences.append([])
                for family in dict.fromkeys(row["family"] for row in own):
                    part = [row for row in own if row["family"] == family]
                    seeds = {row["seed"] for row in part}
                    for other in dict.fromkeys(row["regularizer"] for row in part if row["term"] in (term, "none")):
                        seeds &= {row["seed"] for row in part if row["regularizer"] == other}

                    def mean(of, name, part=part, seeds=seeds):
                        values = [row for row in part if row["regularizer"] == of and row["seed"] in seeds]
                        return np.mean([row[f"validation_{name}"] for row in values])

                    difference = mean(text, "accuracy") - mean("none", "accuracy")
                    fine &= difference >= -0.002
                    fine &= mean(text, "aurc") <= 1.1 * mean("none", "aurc")
                    cost = "predictive_variance_correct"
                    gains[-1].append(1 - mean(text, cost) / mean("none", cost))
                    differences[-1].append(difference)
            of_texts[text] = (fine, np.mean(list(map(np.mean, gains))), np.mean(list(map(np.mean, differences))))
        some = any(fine for fine, *_ in of_texts.values())
        best = max(of_texts, key=lambda text: of_texts[text][:2] if some else of_texts[text][2])
        found.append((best, some, of_texts[best][1]))
    return sorted(found, key=lambda one: one[1:], reverse=True)


@pytest.mark.parametrize("seed", range(6))
def test_the_choice_for_several_data_sets_is_that_of_the_rule_in_loops(seed):
    generator = np.random.default_rng(seed)
    tables = [
        drawn_table(generator, "mnist", ("dropout", "dropconnect")),
        drawn_table(generator, "fashion-mnist", ("dropout",)),
        drawn_table(generator, "cifar10", ("vgg",)),
    ][: 1 + seed % 3]
    ranked = chosen_everywhere(*tables, method="float")
    wanted = ranked_by_loops(tables, "float")
    assert ranked["regularizer"].tolist() == [text for text, *_ in wanted]
    assert ranked["acceptable"].tolist() == [fine for _, fine, _ in wanted]
    assert ranked["gain"].tolist() == pytest.approx([gain for *_, gain in wanted])


def test_for_one_data_set_and_family_the_choice_is_that_of_a_screening():
    table = drawn_table(np.random.default_rng(3), "mnist", ("dropout",))
    alone = chosen_weights(table).query("method == 'direct'").set_index("term")
    ranked = chosen_everywhere(table).set_index("term")
    pd.testing.assert_frame_equal(ranked[["regularizer", "acceptable", "gain"]], alone.loc[ranked.index].iloc[:, 2:])


def test_a_term_that_loses_somewhere_is_said_to():
    mnist = [BASE, row("variance:1", 0.9620, 0.005), row("entropy:1", 0.9600, 0.009), row("membrane:1", 0.96, 0.004)]
    fashion = [
        row("none", 0.88, 0.02, aurc=0.02, dataset="fashion-mnist"),
        row("variance:1", 0.8750, 0.010, aurc=0.025, dataset="fashion-mnist"),
        row("entropy:1", 0.8790, 0.021, aurc=0.02, dataset="fashion-mnist"),
    ]
    ranked = chosen_everywhere(pd.DataFrame(mnist), pd.DataFrame(fashion))
    assert ranked.columns.tolist()[4:] == ["mnist dropout", "fashion-mnist dropout", "loses"]
    assert ranked[["regularizer", "acceptable", "loses"]].to_numpy().tolist() == [
        ["entropy:1", True, "fashion-mnist dropout: variance +5 %"],
        ["membrane:1", False, "fashion-mnist dropout: not run"],
        ["variance:1", False, "fashion-mnist dropout: accuracy -0.50 points, AURC +25 %"],
    ]
    assert ranked.loc[0, "gain"] == pytest.approx((0.1 - 0.05) / 2)
    with pytest.raises(InputError, match="got mnist dropout, mnist dropout"):
        chosen_everywhere(*[pd.DataFrame(mnist)] * 2)
    with pytest.raises(InputError, match="with terms of method distill; got none"):
        chosen_everywhere(pd.DataFrame(mnist), method="distill")
