"""The SRM neuron against sums and gradients written from the definition, and its two scans against each other."""

from __future__ import annotations

import math

import pytest
import torch

from tsnn_uq.neurons import SRMParameters, srm_kernels, srm_plain

SCANS = pytest.mark.parametrize("scan", [srm_plain, srm_kernels], ids=["plain", "compiled"])
every_neuron = [
    SRMParameters(),
    SRMParameters(threshold=1.5, tau_s_ms=3.0, tau_r_ms=5.0, refractory=0.7, tau_rho=0.3, step_ms=0.5),
    SRMParameters(threshold=2.0, tau_s_ms=0.8, tau_r_ms=20.0, refractory=4.0, tau_rho=2.0, step_ms=2.0),
]
NEURONS = pytest.mark.parametrize("params", every_neuron, ids=["slayer", "slow refraction", "coarse steps"])


def case(shape, params, dtype=torch.float64, seed=0):
    """A current [T, ...] that lets neurons spike now and then, and a gradient of their spikes."""
    generator = torch.Generator().manual_seed(seed)
    a, c = params.response
    scale = params.threshold / (c * a / (1 - a) ** 2)  # a constant current of this size just reaches the threshold
    current = (torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + 1.5) * scale
    return current.to(dtype), torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def alpha(t, tau):
    return t / tau * math.exp(1 - t / tau)


def kernels(steps, params):
    """eps and nu sampled at each step, by their formula."""
    eps = [alpha(k * params.step_ms, params.tau_s_ms) for k in range(steps)]
    nu = [-params.refractory * params.threshold * alpha(k * params.step_ms, params.tau_r_ms) for k in range(steps)]
    return eps, nu


def summed(current, params):
    """Potentials and spikes by the sums over all earlier steps, double precision."""
    eps, nu = kernels(len(current), params)
    u, s = torch.zeros_like(current), torch.zeros_like(current)
    for t in range(len(current)):
        for k in range(t + 1):
            u[t] += eps[k] * current[t - k] + nu[k] * s[t - k]
        s[t] = (u[t] >= params.threshold).to(u.dtype)
    return u, s


def credited(potentials, grad, params):
    """Gradient of the current by the sum over all later steps."""
    eps, _ = kernels(len(grad), params)
    scale = params.tau_rho * params.threshold
    credit = grad * (-(potentials - params.threshold).abs() / scale).exp() / scale
    rows = [sum(eps[k] * credit[t + k] for k in range(len(grad) - t)) for t in range(len(grad))]
    return torch.stack(rows)


@SCANS
@NEURONS
@pytest.mark.parametrize("shape", [(1, 3), (2, 4), (60, 5, 7)])
def test_scan_and_gradient_are_the_sums_written_out(scan, params, shape):
    current, grad = case(shape, params)
    u, s = summed(current, params)
    potentials, spikes = scan.forward(current, len(current), params)
    torch.testing.assert_close(potentials, u, rtol=0, atol=1e-10)
    assert torch.equal(spikes, s)
    assert torch.equal(scan.forward(current, len(current), params, keep=False)[1], s)
    torch.testing.assert_close(scan.backward(u, grad, params, False), credited(u, grad, params), rtol=0, atol=1e-12)
