"""The No-U-Turn sampler on the log scales, started where a Laplace approximation has made the posterior round."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tsnn_uq.results.bayesian_comparison.measure_scales import Array
from tsnn_uq.results.bayesian_comparison.mixed_model import TYPICAL, Kernels, Potential
from tsnn_uq.seeds import derive_seed, global_seed

__all__ = ["Chains", "sample_scales"]


class Chains(NamedTuple):
    """What NUTS gave: log scales [C, D, M, 2 + K] (chains, draws, measures, scales), and how many draws diverged."""

    log_scales: Tensor
    divergences: int


def sample_scales(kernels: Kernels, y: Array, *, seed: int, draws: int, warm_up: int, chains: int) -> Chains:
    """Sample the posterior of the log scales of M measures, in one run since they cost hardly more than one.

    Each measure's posterior is shifted and turned by its Laplace approximation, so NUTS (Hoffman and Gelman, JMLR 2014)
    needs no mass matrix and only learns its step in the warm-up. That changes the path, not the target. The
    chains start twice as far out as the approximation is wide.

    Args:
        kernels: the model.
        y: [M, N], rows' values on the model's scale.
        seed: of all chains; torch's global generator is lent and given back.
        draws, warm_up, chains: numbers of each, draws and warm-up in each chain.
    """
    from pyro.infer import MCMC, NUTS

    potential = Potential(kernels, y)
    approximations = [_laplace(Potential(kernels, one[None])) for one in y]
    center, turn = (np.stack(arrays) for arrays in zip(*approximations, strict=True))

    def gradient(round_scales: Array) -> tuple[float, Array]:
        value, slope = potential(center + (turn @ round_scales[..., None])[..., 0])
        return value, (slope[:, None, :] @ turn)[:, 0]

    kept, divergences = [], 0
    for chain in range(chains):
        with global_seed(derive_seed(seed, "nuts", chain), torch.device("cpu")):
            start = {"round": 2 * torch.randn(center.shape, dtype=torch.float64)}
            kernel = NUTS(potential_fn=_differentiable(gradient), adapt_mass_matrix=False, step_size=0.5)
            mcmc = MCMC(kernel, draws, warm_up, initial_params=start, disable_progbar=True)
            mcmc.run()
        kept.append(mcmc.get_samples()["round"])
        divergences += len(mcmc.diagnostics()["divergences"]["chain 0"])
    turned = (torch.from_numpy(turn) @ torch.stack(kept)[..., None])[..., 0]
    return Chains(torch.from_numpy(center) + turned, divergences)


def _differentiable(gradient: Any) -> Any:
    """What Pyro differentiates, from a function that gives value and gradient at once."""

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, point: Tensor) -> Tensor:
            value, slope = gradient(point.detach().numpy())
            ctx.save_for_backward(torch.from_numpy(slope))
            return point.new_tensor(value)

        @staticmethod
        def backward(ctx: Any, *outer: Tensor) -> Tensor:
            (slope,) = ctx.saved_tensors
            return outer[0] * slope

    return lambda parameters: Differentiable.apply(parameters["round"])


def _laplace(potential: Potential) -> tuple[Array, Array]:
    """The mode [P] of one measure's log scales, and a square root [P, P] of the covariance there."""
    from scipy.optimize import minimize

    def flat(point: Array) -> tuple[float, Array]:
        value, slope = potential(point[None])
        return value, slope[0]

    size = len(potential.precision)
    mode = minimize(flat, np.full(size, TYPICAL), jac=True, method="BFGS").x
    steps = 1e-4 * np.eye(size)
    curvature = np.stack([(flat(mode + step)[1] - flat(mode - step)[1]) / 2e-4 for step in steps])
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    # Flatter than the prior cannot be; where the mode is no parabola's, the prior's width is a fair guess.
    floor = np.linalg.eigvalsh(potential.precision)[0]
    return mode, vectors / np.sqrt(values.clip(min=floor))
