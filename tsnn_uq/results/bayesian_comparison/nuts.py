"""The No-U-Turn sampler on the log scales, in coordinates whitened by a Laplace approximation."""

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
    """Draws of NUTS: log scales [C, D, M, 2 + K] (chains, draws, measures, scales), and the number of divergences."""

    log_scales: Tensor
    divergences: int


def sample_scales(kernels: Kernels, y: Array, *, seed: int, draws: int, warm_up: int, chains: int) -> Chains:
    """Sample the posterior of the log scales of M measures in one run, which takes hardly longer than one measure.

    Each measure's posterior is whitened by its Laplace approximation, so NUTS (Hoffman and Gelman, JMLR 2014) needs no
    mass matrix and only adapts its step size in the warm-up. This does not change the target distribution. Starting
    points of chains are drawn with twice the standard deviation of the approximation.

    Args:
        kernels: the model.
        y: [M, N], rows' values on the model's scale.
        seed: seed of all chains; the state of torch's global generator is restored afterwards.
        draws, warm_up, chains: numbers of draws and warm-up steps per chain, and of chains.
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
    """A function that Pyro can differentiate, made from one that returns value and gradient."""

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
    # The curvature is at least the prior's; where the mode is not quadratic, the prior's width is a good guess.
    floor = np.linalg.eigvalsh(potential.precision)[0]
    return mode, vectors / np.sqrt(values.clip(min=floor))
