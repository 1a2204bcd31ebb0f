from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.training import TINY, images, network, same
from tsnn_uq.checks import InputError
from tsnn_uq.training import REGULARIZERS, EntropyRegularizer, FitSettings, VarianceRegularizer, fit, make_regularizer

TARGET = torch.tensor([0, 1])
logit = st.one_of(st.sampled_from([0.0, 100.0, -100.0]), st.floats(-5, 5))


@st.composite
def mc_logits(draw, passes=2):
    """Double [M, 2, C]; passes are often equal."""
    classes = draw(st.integers(1, 4))
    rows = st.lists(logit, min_size=2 * classes, max_size=2 * classes)
    first = draw(rows)
    others = [first if draw(st.booleans()) else draw(rows) for _ in range(passes - 1)]
    return torch.tensor([first, *others], dtype=torch.float64).reshape(passes, 2, classes)


@given(mc_logits() | mc_logits(passes=3))
def test_the_variance_is_half_the_mean_squared_distance_of_pairs(logits):
    """The unbiased variance of M values is the mean over pairs of (a - b)^2 / 2."""
    probs = logits.softmax(-1)
    pairs = list(itertools.combinations(probs, 2))
    expected = sum(((one - other) ** 2 / 2).sum(-1).mean().item() for one, other in pairs) / len(pairs)
    assert VarianceRegularizer()(logits, TARGET).item() == pytest.approx(expected, abs=1e-12)


@given(mc_logits())
def test_the_entropy_is_that_of_the_mean(logits):
    means = logits.softmax(-1).mean(0).tolist()
    expected = sum(-p * math.log(p) for row in means for p in row if p > 0) / len(means)
    assert EntropyRegularizer()(logits, TARGET).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["variance", "entropy"])
def test_the_gradient_is_right(name, generator):
    logits = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    regularizer = make_regularizer(name)
    assert torch.autograd.gradcheck(lambda x: regularizer(x, torch.tensor([0, 1, 2])), logits)


def test_two_passes_estimate_the_variance_without_bias(generator):
    """The mean over many pairs is the variance over all their passes."""
    logits = torch.randn(20_000, 1, 3, dtype=torch.float64, generator=generator)
    regularizer = VarianceRegularizer()
    estimates = [regularizer(pair, TARGET[:1]).item() for pair in logits.split(2)]
    exact = logits.softmax(-1).var(0, correction=0).sum().item()
    assert sum(estimates) / len(estimates) == pytest.approx(exact, rel=0.02)


def test_no_regularizer_adds_nothing():
    assert make_regularizer("none")(torch.ones(1, 2, 3), TARGET).item() == 0


@pytest.mark.parametrize("name", ["variance", "entropy"])
def test_it_changes_the_training_and_lowers_what_it_measures(name):
    data = images()

    def trained(weight):
        model = network(p=0.5)
        settings = FitSettings(epochs=20, batch_size=16, learning_rate=0.05, regularizer_weight=weight)
        fit(model, data, seed=0, regularizer=make_regularizer(name) if weight else None, settings=settings)
        passes = model.train()(torch.cat([data[0]] * 200)).mean(0).unflatten(0, (200, -1))
        return model, make_regularizer(name)(passes.detach(), data[1]).item()

    (plain, before), (regularized, after) = trained(0), trained(20)
    assert not same(plain, regularized)
    assert after < before


def test_bad_calls_are_refused():
    with pytest.raises(InputError, match=r"mc_logits: expected shape \[M, N, C\] with M >= 2; got .*\[1, 2, 3\]"):
        VarianceRegularizer()(torch.ones(1, 2, 3), TARGET)
    with pytest.raises(InputError, match=r"mc_logits: expected shape \[M, N, C\] with M >= 2; got .*\[2, 3\]"):
        EntropyRegularizer()(torch.ones(2, 3), TARGET)
    with pytest.raises(InputError, match=r"regularizer: expected one of none, .*; got 'varaince' \(did you mean 'var"):
        make_regularizer("varaince")
    with pytest.raises(InputError, match=r"regularizer_weight: expected a number above 0 with a regularizer.*got 0"):
        fit(network(), images(), seed=0, regularizer=VarianceRegularizer(), settings=TINY)


def test_the_table_names_them_all():
    assert {name: type(make_regularizer(name)) for name in REGULARIZERS} == REGULARIZERS
