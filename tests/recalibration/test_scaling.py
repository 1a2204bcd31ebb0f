"""Vector, Dirichlet and beta scaling: first-order conditions, netcal, and maps they can express."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.metrics.functional import negative_log_likelihood
from tsnn_uq.recalibration import BetaScaling, DirichletScaling, TemperatureScaling, VectorScaling


def simulated(inputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, labels, and the distribution of these: the predictions scaled class by class."""
    probs = (2 * torch.randn(inputs, 3, generator=generator, dtype=torch.float64)).softmax(-1)
    truth = (torch.tensor([0.5, 1.0, 0.3]) * probs.log() + torch.tensor([0.5, 0.0, -1.0])).softmax(-1)
    return probs, torch.multinomial(truth, 1, generator=generator)[:, 0], truth


def loss_by_numpy(kind: str, x: np.ndarray, probs: np.ndarray, target: np.ndarray) -> float:
    logs, c = np.log(probs), probs.shape[1]
    penalty = 0.0
    if kind == "vector":
        logits = logs * x[:c] + x[c:]
    elif kind == "dirichlet":
        w, b = x[: c * c].reshape(c, c), x[c * c :]
        logits = logs @ w.T + b
        off = w[~np.eye(c, dtype=bool)]
        penalty = 1e-3 * np.mean(off**2) + 1e-3 * np.mean(b**2)
    else:
        logits = logs * x[:c] - np.log1p(-probs) * x[c : 2 * c] + x[2 * c :]
    logits = logits - logits.max(-1, keepdims=True)
    return float(np.mean(np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(target)), target])) + penalty


@pytest.mark.parametrize(
    ("kind", "scaling"), [("vector", VectorScaling()), ("dirichlet", DirichletScaling()), ("beta", BetaScaling())]
)
def test_least_loss_by_another_optimizer(kind: str, scaling, generator: torch.Generator) -> None:
    probs, target, _ = simulated(300, generator)
    found = scaling.fit(probs, target).parameters.numpy()
    arguments = probs.numpy(), target.numpy()
    best = loss_by_numpy(kind, found, *arguments)
    start = np.full(len(found), 0.5)
    bounds = [(0, None)] * 6 + [(None, None)] * 3 if kind == "beta" else None
    other = minimize(lambda x: loss_by_numpy(kind, x, *arguments), start, method="SLSQP", bounds=bounds, tol=1e-12)
    assert best <= other.fun + 1e-7
    assert best == pytest.approx(other.fun, abs=1e-5)
    if kind == "beta":
        assert (found[:6] >= 0).all()
    scaled = scaling.transform(probs)
    penalty = best - negative_log_likelihood(scaled, target).item()
    assert penalty == pytest.approx(0, abs=1e-9) or kind == "dirichlet"


def test_against_netcal(generator: torch.Generator) -> None:
    """The same models; netcal stops early, so its loss is a little higher."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from netcal.scaling import BetaCalibration, LogisticCalibration

    probs, target, _ = simulated(300, generator)
    for scaling, theirs in [(VectorScaling(), LogisticCalibration()), (BetaScaling(), BetaCalibration())]:
        ours = scaling.fit(probs, target).transform(probs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.fit(probs.numpy(), target.numpy(), tensorboard=False)
        other = torch.as_tensor(theirs.transform(probs.numpy()))
        gap = negative_log_likelihood(other, target) - negative_log_likelihood(ours, target)
        assert -1e-7 <= gap.item() < 1e-4
        torch.testing.assert_close(ours, other, rtol=0, atol=0.02)


def test_undoes_what_it_can_express(generator: torch.Generator) -> None:
    probs, target, truth = simulated(20_000, generator)
    for scaling in (VectorScaling(), DirichletScaling()):
        repaired = scaling.fit(probs, target).transform(probs)
        assert (repaired - truth).abs().mean() < 0.01 < (probs - truth).abs().mean()
    weight = VectorScaling().fit(probs, target).parameters[:3]
    assert weight.tolist() == pytest.approx([0.5, 1.0, 0.3], abs=0.1)


def test_richer_maps_fit_no_worse(generator: torch.Generator) -> None:
    probs, target, _ = simulated(500, generator)
    losses = [
        negative_log_likelihood(scaling.fit(probs, target).transform(probs), target).item()
        for scaling in (TemperatureScaling(), VectorScaling(), DirichletScaling(0, 0))
    ]
    assert losses == sorted(losses, reverse=True)
    held_still = DirichletScaling(off_diagonal=1e6, intercept=1e6).fit(probs, target)
    assert held_still.parameters[[1, 2, 3, 5, 6, 7, 9, 10, 11]].abs().max() < 1e-4


def test_samples_are_mapped_one_by_one_and_their_mean_is_likely(generator: torch.Generator) -> None:
    logits = torch.randn(4, 300, 3, generator=generator, dtype=torch.float64)
    probs = (3 * logits).softmax(-1)
    target = torch.multinomial(logits.softmax(-1).mean(0), 1, generator=generator)[:, 0]
    for scaling in (VectorScaling(), DirichletScaling(), BetaScaling()):
        mapped = scaling.fit(probs, target).transform(probs)
        torch.testing.assert_close(mapped[2], scaling.transform(probs[2]))
        before, after = (negative_log_likelihood(p.mean(0), target) for p in (probs, mapped))
        assert after < before


def test_classes_that_have_no_best_parameters(generator: torch.Generator) -> None:
    """One that is never mistaken on the held-out inputs, and one without a label there; checked by going further."""
    probs, target, _ = simulated(200, generator)
    scaling = VectorScaling().fit(probs, target)
    assert scaling.determined
    assert not scaling.separated.any()
    for number in range(6):  # a unit further in any parameter is less likely
        assert all(further("vector", scaling.parameters, number, step, probs, target) > 0 for step in (1.0, -1.0))

    absent = VectorScaling().fit(probs, target % 2)
    assert absent.separated.tolist() == [False, False, True]
    assert further("vector", absent.parameters, 5, -1.0, probs, target % 2) <= 0  # the third bias
    told = torch.cat([probs, torch.tensor([[0.0, 0.0, 1.0]] * 5, dtype=torch.float64)])
    apart = VectorScaling().fit(told, torch.cat([target % 2, torch.full((5,), 2)]))
    assert apart.separated.tolist() == [False, False, True]
    assert not apart.determined

    right = DirichletScaling().fit(probs, probs.argmax(-1))
    assert right.separated.all()
    assert not DirichletScaling().fit(torch.stack([probs, probs]), probs.argmax(-1)).determined
    assert DirichletScaling().fit(torch.stack([probs, probs]), target).determined


def further(kind: str, parameters: Tensor, number: int, step: float, probs: Tensor, target: Tensor) -> float:
    """By how much the loss rises if one parameter goes on by a step."""
    x, arguments = parameters.numpy().copy(), (probs.clamp_min(1e-300).numpy(), target.numpy())
    before = loss_by_numpy(kind, x, *arguments)
    x[number] += step
    return loss_by_numpy(kind, x, *arguments) - before


def test_weights_that_end_at_their_bound(generator: torch.Generator) -> None:
    """Of predictions that are the wrong way round no rising weight is of use."""
    probs, target, _ = simulated(500, generator)
    assert not BetaScaling().fit(probs, target).at_bound.all()
    turned = BetaScaling().fit(probs, probs.argmin(-1))
    assert turned.at_bound.shape == (2, 3)
    assert turned.at_bound.any()
    assert torch.equal(turned.at_bound.flatten(), turned.parameters[:6] == 0)
    with pytest.raises(InputError, match="expected fit to be called"):
        _ = BetaScaling().at_bound


def test_bad_options() -> None:
    with pytest.raises(InputError, match="off_diagonal: expected a number of 0 or more"):
        DirichletScaling(off_diagonal=-1)
    with pytest.raises(InputError, match="intercept: expected a number of 0 or more"):
        DirichletScaling(intercept=math.inf)
