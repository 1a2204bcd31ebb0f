from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given

from tests.helpers.strategies import mc_probabilities
from tests.helpers.training import images, network
from tsnn_uq.checks import InputError
from tsnn_uq.data import Dataset
from tsnn_uq.experiments import evaluate, predict, uncertainty
from tsnn_uq.neurons import LIFParameters
from tsnn_uq.results.measure_predictions import after_temperature


def written_out(probs, labels):
    """The definitions in plain Python; probs [S, N, C] and labels [N] are lists."""
    samples, inputs, classes = len(probs), len(labels), len(probs[0][0])
    mean = [[sum(draw[n][c] for draw in probs) / samples for c in range(classes)] for n in range(inputs)]

    def entropy(row):
        return sum(-p * math.log(p) for p in row if p > 0)

    total = sum(map(entropy, mean)) / inputs
    wrong = [mean[n].index(max(mean[n])) != labels[n] for n in sorted(range(inputs), key=lambda n: entropy(mean[n]))]
    expected = sum(entropy(row) for draw in probs for row in draw) / inputs / samples
    spread = [
        [sum((draw[n][c] - mean[n][c]) ** 2 for draw in probs) / samples for c in range(classes)] for n in range(inputs)
    ]
    return {
        "accuracy": sum(row.index(max(row)) == label for row, label in zip(mean, labels, strict=True)) / inputs,
        "nll": sum(-math.log(row[label]) for row, label in zip(mean, labels, strict=True)) / inputs,
        "brier": sum(
            (p - (c == label)) ** 2 for row, label in zip(mean, labels, strict=True) for c, p in enumerate(row)
        )
        / inputs,
        "aurc": sum(sum(wrong[:k]) / k for k in range(1, inputs + 1)) / inputs,
        "predictive_entropy": total,
        "normalized_entropy": total / math.log(classes),
        "expected_entropy": expected,
        "mutual_information": total - expected,
        "predictive_variance": sum(map(sum, spread)) / inputs,
    }


def test_the_numbers_are_those_of_the_definitions(generator):
    probs = torch.randn(5, 7, 3, dtype=torch.float64, generator=generator).softmax(-1)
    labels = torch.randint(3, (7,), generator=generator)
    values = evaluate(probs, labels)
    for name, expected in written_out(probs.tolist(), labels.tolist()).items():
        assert values[name] == pytest.approx(expected, rel=1e-9), name
    assert all(isinstance(value, float) for value in values.values())


def test_a_temperature_takes_back_what_was_too_sharp(generator):
    """Labels drawn from the probabilities themselves; those are then sharpened, and it is found how much."""
    held_out, probs = (torch.randn(1, 4000, 3, dtype=torch.float64, generator=generator).softmax(-1) for _ in range(2))
    labels, others = (torch.multinomial(p[0], 1, generator=generator)[:, 0] for p in (held_out, probs))
    values = after_temperature((sharpened(held_out, 2.0), labels), sharpened(probs, 2.0), others)
    assert values.pop("temperature") == pytest.approx(2, rel=0.1)
    assert values.pop("temperature_outcome") == "optimum"
    expected = {f"scaled_{name}": value for name, value in evaluate(probs, others).items()}
    assert values == pytest.approx(expected, abs=0.03)


def test_a_temperature_that_is_not_determined_is_told(generator):
    """Uniform predictions are as they are at every temperature; never wrong or never right ones have no best one."""
    logits = torch.randn(2, 40, 3, generator=generator)
    probs, labels = logits.softmax(-1), torch.randint(3, (40,), generator=generator)
    plain = {f"scaled_{name}": value for name, value in evaluate(probs, labels).items()}
    uniform = torch.full((2, 30, 3), 1 / 3), torch.arange(30) % 3
    flat = after_temperature(uniform, probs, labels)
    assert flat == pytest.approx({"temperature": 1.0, **plain, "temperature_outcome": "flat"}, rel=1e-5)
    sure = torch.tensor([[0.9, 0.05, 0.05], [0.2, 0.7, 0.1]])[None]
    for held_out, temperature, outcome in [
        ((sure, torch.tensor([0, 1])), 0.01, "lower bound"),
        ((sure, torch.tensor([1, 2])), 100.0, "upper bound"),
    ]:
        values = after_temperature(held_out, probs, labels)
        assert (values.pop("temperature"), values.pop("temperature_outcome")) == (temperature, outcome)
        assert values.keys() == plain.keys()
        assert set(values.values()) == {None}


def sharpened(probs, power):
    return (probs**power) / (probs**power).sum(-1, keepdim=True)


def test_calibration_error_has_the_bins_it_is_given():
    """Confidences 0.6 and 0.9, one right and one wrong: apart |0.6 - 1| and |0.9 - 0|, together |0.75 - 0.5|."""
    probs = torch.tensor([[[0.6, 0.4], [0.9, 0.1]]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    assert evaluate(probs, labels, bins=10)["ece"] == pytest.approx((0.4 + 0.9) / 2)
    assert evaluate(probs, labels, bins=1)["ece"] == pytest.approx(0.25)


@given(mc_probabilities().filter(lambda probs: probs.shape[-1] > 1))
def test_uncertainty_is_the_part_without_labels(probs):
    labels = torch.zeros(probs.shape[1], dtype=torch.long)
    everything, part = evaluate(probs, labels), uncertainty(probs)
    rest = {"accuracy", "nll", "brier", "ece", "aurc"}
    assert everything.keys() == part.keys() | rest
    assert all(everything[name] == value or value != value for name, value in part.items())


def test_predictions_belong_to_their_seed_and_their_data_set():
    model = network("dropconnect", p=0.5, neuron=LIFParameters(threshold=0.2))
    calls = []

    def predicted(seed, name="one", **options):
        return predict(model, Dataset(*images(5), name, 3), samples=3, seed=seed, **options)

    probs = predicted(0, progress=lambda *call: calls.append(call))
    assert probs.shape == (3, 5, 3)
    assert calls == [("predict", 5, 5)]
    assert torch.equal(probs, predicted(0))
    assert not torch.equal(probs, predicted(1))
    assert not torch.equal(probs, predicted(0, name="other"))


def test_a_network_without_dice_is_refused():
    dataset = Dataset(*images(5), "one", 3)
    with pytest.raises(InputError, match="model: expected a stochastic layer"):
        predict(network(p=0.0), dataset, samples=2, seed=0)
