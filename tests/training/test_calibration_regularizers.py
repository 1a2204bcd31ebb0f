"""The differentiable calibration errors, against loops written from the papers' formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.checks import InputError
from tsnn_uq.metrics.functional import rms_calibration_error
from tsnn_uq.training import AccuracyUncertaintyRegularizer, KernelCalibrationRegularizer, SoftBinnedRegularizer


@st.composite
def predictions(draw):
    """Logits [M, N, C] and labels, many of them right."""
    passes, count, classes = draw(st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(2, 4)))
    seed = draw(st.integers(0, 2**20))
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(passes, count, classes, dtype=torch.float64, generator=generator)
    target = torch.where(
        torch.rand(count, generator=generator) < 0.6,
        logits.softmax(-1).mean(0).argmax(-1),
        torch.randint(classes, (count,), generator=generator),
    )
    return logits, target


def rows(logits, target):
    """(confidence, right, entropy) of each input, of the mean of the passes."""
    for probs, label in zip(logits.softmax(-1).mean(0).tolist(), target.tolist(), strict=True):
        yield max(probs), probs.index(max(probs)) == label, -sum(p * math.log(p) for p in probs if p > 0)


@given(predictions(), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_accuracy_versus_uncertainty(drawn, threshold):
    logits, target = drawn
    counts = dict.fromkeys(("ac", "au", "ic", "iu"), 0.0)
    for confidence, right, entropy in rows(logits, target):
        uncertain = entropy > threshold * math.log(logits.shape[-1])
        degree = math.tanh(entropy) if uncertain else 1 - math.tanh(entropy)
        counts["ai"[not right] + "cu"[uncertain]] += (confidence if right else 1 - confidence) * degree
    value = AccuracyUncertaintyRegularizer(threshold)(logits, target).item()
    good, bad = counts["ac"] + counts["iu"], counts["au"] + counts["ic"]
    if good > 0:
        assert value == pytest.approx(math.log(1 + bad / good), rel=1e-9, abs=1e-12)
    else:
        assert 50 < value < math.inf


def test_a_network_that_knows_when_it_is_wrong_has_a_lower_loss():
    sure, unsure = [20.0, 0.0], [0.1, 0.0]
    loss = AccuracyUncertaintyRegularizer()
    knows = loss(torch.tensor([[sure, sure, unsure]]), torch.tensor([0, 0, 1]))
    does_not = loss(torch.tensor([[sure, unsure, unsure]]), torch.tensor([0, 0, 1]))
    assert knows == pytest.approx(0, abs=1e-6)
    assert does_not > 0.1


@given(predictions(), st.sampled_from([1, 5, 15]), st.sampled_from([0.1, 0.01, 0.001]))
def test_the_soft_binned_error(drawn, bins, temperature):
    logits, target = drawn
    mass, excess = [0.0] * bins, [0.0] * bins
    for confidence, right, _ in rows(logits, target):
        degrees = [math.exp(-((confidence - (j + 0.5) / bins) ** 2) / temperature) for j in range(bins)]
        for j, degree in enumerate(degrees):
            mass[j] += degree / sum(degrees)
            excess[j] += degree / sum(degrees) * (right - confidence)
    expected = math.sqrt(sum(e**2 / m for e, m in zip(excess, mass, strict=True) if m) / len(target))
    value = SoftBinnedRegularizer(bins, temperature)(logits, target).item()
    assert value == pytest.approx(expected, rel=1e-8, abs=1e-10)


@given(predictions())
def test_cold_bins_are_the_hard_ones_that_are_reported(drawn):
    logits, target = drawn
    value = SoftBinnedRegularizer(15, 1e-12)(logits, target).item()
    expected = rms_calibration_error(logits.softmax(-1).mean(0), target, bins=15).item()
    assert value == pytest.approx(expected, abs=1e-6)


@given(predictions(), st.sampled_from([0.1, 0.4]))
def test_the_kernel_error(drawn, width):
    logits, target = drawn
    inputs = list(rows(logits, target))
    count = len(inputs)
    right = sum(hit for _, hit, _ in inputs)

    def square(error):
        return sum(error(*i) * error(*j) * math.exp(-abs(i[0] - j[0]) / width) for i in inputs for j in inputs)

    plain = square(lambda confidence, hit, _: (hit - confidence) / count)
    weighted = square(lambda confidence, hit, _: (hit - confidence) / (right if hit else count - right))
    for flag, expected in ((False, plain), (True, weighted)):
        value = KernelCalibrationRegularizer(width, flag)(logits, target).item()
        assert value**2 == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("regularizer", [SoftBinnedRegularizer(), KernelCalibrationRegularizer()])
def test_descent_calibrates(regularizer, generator):
    """Logits that are right in three of four cases and surer than that lose confidence, and the doubters gain some."""
    target = torch.tensor([0, 0, 0, 1] * 25)
    for scale, higher in ((4.0, False), (0.4, True)):
        factor = torch.tensor(scale, requires_grad=True)
        logits = torch.stack([factor, torch.zeros(())]).expand(1, 100, 2)
        (gradient,) = torch.autograd.grad(regularizer(logits, target), factor)
        assert (gradient < 0) == higher
    exact = torch.tensor([math.log(3), 0.0], dtype=torch.float64).expand(1, 100, 2)
    assert regularizer(exact, target) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: AccuracyUncertaintyRegularizer(1.5), "threshold: expected 0 <= value <= 1"),
        (lambda: SoftBinnedRegularizer(0), "bins: expected a positive whole number"),
        (lambda: SoftBinnedRegularizer(5, 0.0), "temperature: expected a positive number"),
        (lambda: KernelCalibrationRegularizer(-1.0), "width: expected a positive number"),
    ],
)
def test_bad_options_are_refused(make, match):
    with pytest.raises(InputError, match=match):
        make()
