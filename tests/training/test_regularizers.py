from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.training import TINY, images, network, same
from tsnn_uq.checks import InputError
from tsnn_uq.metrics.functional import mutual_information, predictive_entropy, predictive_variance
from tsnn_uq.training import (
    REGULARIZERS,
    ConsistencyRegularizer,
    ContrastRegularizer,
    EntropyRegularizer,
    FitSettings,
    InformationRegularizer,
    OutlierExposure,
    QuantizationGapRegularizer,
    Regularizer,
    VarianceRegularizer,
    WeightedSum,
    fit,
    forward_batch,
    make_regularizer,
    regularizer_terms,
)

TARGET = torch.tensor([0, 1])
OF_WHOLE_PASSES = ("quantization-gap", "membrane", "outliers", "consistency", "rate")
OF_LOGITS = [name for name in REGULARIZERS if name not in ("none", *OF_WHOLE_PASSES)]
logit = st.one_of(st.sampled_from([0.0, 100.0, -100.0]), st.floats(-5, 5))


@st.composite
def mc_logits(draw, passes=2):
    """Double [M, 2, C]; passes are often equal."""
    classes = draw(st.integers(1, 4))
    rows = st.lists(logit, min_size=2 * classes, max_size=2 * classes)
    first = draw(rows)
    others = [first if draw(st.booleans()) else draw(rows) for _ in range(passes - 1)]
    return torch.tensor([first, *others], dtype=torch.float64).reshape(passes, 2, classes)


def random_logits(generator, passes=2, count=6, classes=4):
    return torch.randn(passes, count, classes, dtype=torch.float64, generator=generator).requires_grad_()


@given(mc_logits() | mc_logits(passes=3))
def test_the_variance_is_half_the_mean_squared_distance_of_pairs(logits):
    """The unbiased variance of M values is the mean over pairs of (a - b)^2 / 2."""
    probs = logits.softmax(-1)
    pairs = list(itertools.combinations(probs, 2))
    expected = sum(((one - other) ** 2 / 2).sum(-1).mean().item() for one, other in pairs) / len(pairs)
    assert VarianceRegularizer()(logits, TARGET).item() == pytest.approx(expected, abs=1e-12)


def entropy(probabilities):
    return sum(-p * math.log(p) for p in probabilities if p > 0)


@given(mc_logits() | mc_logits(passes=3))
def test_the_entropy_is_that_of_the_mean_and_the_information_what_is_disagreement(logits):
    probs = logits.softmax(-1)
    of_mean = sum(entropy(row) for row in probs.mean(0).tolist()) / 2
    mean_of = sum(entropy(row) for sample in probs.tolist() for row in sample) / (2 * len(probs))
    assert EntropyRegularizer()(logits, TARGET).item() == pytest.approx(of_mean, abs=1e-12)
    assert InformationRegularizer()(logits, TARGET).item() == pytest.approx(of_mean - mean_of, abs=1e-12)


MEASURES = {
    "variance": lambda probs: predictive_variance(probs, unbiased=True).item(),
    "entropy": lambda probs: predictive_entropy(probs).item(),
    "information": lambda probs: mutual_information(probs).item(),
}


@pytest.mark.parametrize("of", MEASURES)
@pytest.mark.parametrize("wrong", [1.0, 0.0, 0.5])
@pytest.mark.parametrize("balanced", [True, False])
def test_a_contrast_is_the_measure_where_right_minus_where_wrong(of, wrong, balanced, generator):
    logits = random_logits(generator, count=9)
    probs = logits.detach().softmax(-1)
    target = (probs.mean(0).argmax(-1) + torch.tensor([0, 0, 1, 0, 2, 0, 3, 1, 0])) % 4
    groups = {True: [], False: []}
    for n in range(9):
        mean = probs[:, n].mean(0).tolist()
        groups[mean.index(max(mean)) == target[n].item()].append(MEASURES[of](probs[:, n : n + 1]))
    assert (len(groups[True]), len(groups[False])) == (5, 4)
    right, not_right = (sum(group) / (len(group) if balanced else 9) for group in (groups[True], groups[False]))
    regularizer = ContrastRegularizer(of=of, wrong=wrong, balanced=balanced)
    assert regularizer(logits, target).item() == pytest.approx(right - wrong * not_right, abs=1e-12)
    predicted = probs.mean(0).argmax(-1)
    all_right = regularizer(logits, predicted).item()
    assert all_right == pytest.approx(MEASURES[of](probs), abs=1e-12)
    assert regularizer(logits, (predicted + 1) % 4).item() == pytest.approx(-wrong * all_right, abs=1e-12)


def test_a_contrast_makes_right_inputs_surer_and_wrong_ones_less_sure(generator):
    logits, target = random_logits(generator, count=20), torch.arange(20) % 4
    (gradient,) = torch.autograd.grad(ContrastRegularizer()(logits, target), logits)
    before, after = (
        predictive_variance(values.softmax(-1), unbiased=True, reduction="none")
        for values in (logits.detach(), logits.detach() - 1e-3 * gradient)
    )
    right = logits.detach().softmax(-1).mean(0).argmax(-1) == target
    assert (after[right] < before[right]).all()
    assert (after[~right] > before[~right]).all()


@pytest.mark.parametrize("name", OF_LOGITS)
@pytest.mark.parametrize("passes", [2, 3])
def test_the_gradient_is_right(name, passes, generator):
    regularizer = make_regularizer(name)
    logits = random_logits(generator, passes)
    assert torch.autograd.gradcheck(lambda x: regularizer(x, torch.tensor([0, 1, 2, 3, 0, 1])), logits)
    value = regularizer(logits, torch.tensor([0, 1, 2, 3, 0, 1]))
    assert value.shape == ()
    assert torch.autograd.grad(value, logits)[0].abs().sum() > 0


@pytest.mark.parametrize("name", OF_LOGITS)
@given(logits=mc_logits())
def test_value_and_gradient_are_finite_even_where_a_softmax_saturates(name, logits):
    single = logits.float().requires_grad_()
    value = make_regularizer(name)(single, TARGET.clamp_max(logits.shape[-1] - 1))
    assert value.isfinite()
    assert torch.autograd.grad(value, single)[0].isfinite().all()


def test_two_passes_estimate_the_variance_without_bias(generator):
    """The mean over many pairs is the variance over all their passes."""
    logits = torch.randn(20_000, 1, 3, dtype=torch.float64, generator=generator)
    regularizer = VarianceRegularizer()
    estimates = [regularizer(pair, TARGET[:1]).item() for pair in logits.split(2)]
    exact = logits.softmax(-1).var(0, correction=0).sum().item()
    assert sum(estimates) / len(estimates) == pytest.approx(exact, rel=0.02)


def test_no_regularizer_adds_nothing():
    assert make_regularizer("none")(torch.ones(1, 2, 3), TARGET).item() == 0


@pytest.mark.parametrize("name", ["variance", "entropy", "information"])
def test_it_changes_the_training_and_lowers_what_it_measures(name):
    data = images()

    def trained(weight):
        model = network(p=0.5)
        budget = FitSettings(epochs=20, batch_size=16, learning_rate=0.05, regularizer_weight=weight)
        fit(model, data, seed=0, regularizer=make_regularizer(name) if weight else None, settings=budget)
        passes = model.train()(torch.cat([data[0]] * 200)).mean(0).unflatten(0, (200, -1))
        return model, make_regularizer(name)(passes.detach(), data[1]).item()

    (plain, before), (regularized, after) = trained(0), trained(20)
    assert not same(plain, regularized)
    assert after < before


def one_forward(regularizer, **options):
    pixels, labels = images()
    return forward_batch(network(p=0.0, **options), pixels, labels, regularizer, seed=0, step=0)


def test_a_sum_is_the_sum_of_its_weighted_terms(generator):
    parts = [(5.0, VarianceRegularizer()), (0.25, make_regularizer("soft-binned")), (2.0, EntropyRegularizer())]
    both, target = WeightedSum(parts), torch.tensor([0, 1, 2, 3, 0, 1])
    logits = random_logits(generator)
    expected = sum(weight * part(logits, target) for weight, part in parts)
    torch.testing.assert_close(both(logits, target), expected)
    forward = one_forward(both)
    torch.testing.assert_close(both.term(forward), sum(weight * part.term(forward) for weight, part in parts))


def test_a_part_of_a_sum_gets_what_it_sees_and_its_own_inputs():
    parts = [(5.0, VarianceRegularizer(share=1.0)), (2.0, make_regularizer("membrane")), (0.5, OutlierExposure())]
    both = WeightedSum(parts)
    forward = one_forward(both)
    assert (len(forward.mc_logits), len(forward.extra_logits)) == (2, 4)
    alone = [part.term(one_forward(part)) for _, part in parts]
    torch.testing.assert_close(both.term(forward), 5 * alone[0] + 2 * alone[1] + 0.5 * alone[2])
    nested = WeightedSum([(1.0, both), (3.0, EntropyRegularizer())])
    assert nested.kinds == 1
    torch.testing.assert_close(
        nested.term(one_forward(nested)), both.term(forward) + 3 * EntropyRegularizer().term(one_forward(nested))
    )


def test_the_neediest_part_decides_on_passes_and_shares():
    both = WeightedSum([(1.0, VarianceRegularizer(3, 0.5)), (1.0, EntropyRegularizer(2, 0.75)), (1.0, Regularizer())])
    assert (both.passes, both.share, both.extra_share) == (3, 0.75, 0)
    assert WeightedSum([(1.0, Regularizer()), (1.0, OutlierExposure(0.5))]).extra_share == 0.5


def test_text_names_one_or_a_weighted_sum():
    for name, make in REGULARIZERS.items():
        assert make_regularizer(name) == make() or name == "none"
        assert regularizer_terms(name) == {name: None}
    assert regularizer_terms("variance:5e+0+outliers:.5") == {"variance": 5, "outliers": 0.5}
    both = WeightedSum([(5.0, VarianceRegularizer()), (0.5, OutlierExposure())])
    assert make_regularizer("variance:5+outliers:0.5") == both
    assert make_regularizer("variance:2") == WeightedSum([(2.0, VarianceRegularizer())])
    assert make_regularizer("variance:5+quantization-gap:1", without=["quantization-gap"]) == WeightedSum(
        both.parts[:1]
    )
    for text in ("quantization-gap", "quantization-gap:1+passes:4"):
        assert type(make_regularizer(text, without=["quantization-gap"])) is Regularizer


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("varaince", "regularizer: expected one of"),
        ("variance:1+varance:2", "regularizer: expected one of"),
        ("variance+outliers", r"regularizer: expected name:weight\+name:weight"),
        ("variance:5+outliers", r"regularizer: expected name:weight\+name:weight"),
        ("variance:0", "regularizer: expected name:weight.* above 0"),
        ("variance:nan", "regularizer: expected name:weight.* above 0"),
        ("variance:a", "regularizer: expected name:weight.* above 0"),
        ("variance:1+variance:2", "regularizer: expected each name once"),
        ("none:1", "regularizer: expected each name once"),
        ("variance:1+none", "regularizer: expected each name once"),
        ("passes:4", "regularizer: expected a whole number of passes beside a term"),
        ("passes", "regularizer: expected a whole number of passes beside a term"),
        ("variance:1+passes:2.5", "regularizer: expected a whole number of passes beside a term"),
        ("variance:1+passes", r"regularizer: expected name:weight\+name:weight"),
        ("none+passes:4", "regularizer: expected each name once"),
        ("", "regularizer: expected one of"),
        (3, "regularizer: expected text"),
    ],
)
def test_text_that_means_nothing_is_refused(text, match):
    with pytest.raises(InputError, match=match):
        make_regularizer(text)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: VarianceRegularizer(1), "passes: expected at least 2 for the variance"),
        (lambda: InformationRegularizer(1.5), "passes: expected a positive whole number"),
        (lambda: EntropyRegularizer(1, 0.0), "share: expected a positive number"),
        (lambda: EntropyRegularizer(1, 1.5), "share: expected 0 <= value <= 1"),
        (lambda: ContrastRegularizer(of="varaince"), "of: expected one of"),
        (lambda: ContrastRegularizer(wrong=-1), "wrong: expected a positive number"),
        (lambda: QuantizationGapRegularizer(-1), "variance: expected a positive number"),
        (lambda: QuantizationGapRegularizer(share=0), "share: expected a positive number"),
        (lambda: OutlierExposure(0.0), "extra_share: expected a positive number"),
        (lambda: ConsistencyRegularizer(extra_share=0.0), "extra_share: expected a positive number"),
        (lambda: ConsistencyRegularizer(passes=1), "passes: expected at least 2"),
        (lambda: ConsistencyRegularizer(fidelity=-1), "fidelity: expected a positive number"),
        (lambda: OutlierExposure(2.0), "extra_share: expected 0 <= value <= 1"),
        (lambda: WeightedSum([]), "parts: expected at least one regularizer"),
        (lambda: WeightedSum([(0.0, Regularizer())]), "weight: expected a positive number"),
    ],
)
def test_bad_options_are_refused_when_made(make, match):
    with pytest.raises(InputError, match=match):
        make()


def test_bad_calls_are_refused():
    with pytest.raises(InputError, match=r"mc_logits: expected shape \[M, N, C\] with M >= 2"):
        VarianceRegularizer()(torch.ones(1, 2, 3), TARGET)
    with pytest.raises(InputError, match=r"mc_logits: expected shape \[M, N, C\] with M >= 2"):
        EntropyRegularizer()(torch.ones(2, 3), TARGET)
    with pytest.raises(InputError, match="regularizer_weight: expected a number above 0"):
        fit(network(), images(), seed=0, regularizer=VarianceRegularizer(), settings=TINY)
    for name in OF_WHOLE_PASSES:
        with pytest.raises(InputError, match="expected a whole forward pass"):
            make_regularizer(name)(torch.ones(2, 2, 3), TARGET)


def test_each_says_what_it_is_for_the_checkpoint():
    descriptions = {repr(make_regularizer(name)) for name in REGULARIZERS}
    assert len(descriptions) == len(REGULARIZERS)
    assert not any(" at 0x" in description for description in descriptions)
    assert repr(VarianceRegularizer(3)) == "VarianceRegularizer(passes=3, share=0.25)"
