"""The SRM neuron against sums and gradients written from the definition, and its two scans against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.checks import InputError
from tsnn_uq.coding import constant_current
from tsnn_uq.fast import compilers
from tsnn_uq.fast.scans import srm as srm_kernels
from tsnn_uq.neurons import SRM, SRMParameters, srm_potentials, srm_reference, srm_scan

SCANS = pytest.mark.parametrize("scan", [srm_reference, srm_kernels], ids=["plain", "compiled"])
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


class StepWithSlope(torch.autograd.Function):
    """1 at the threshold and above; backward, the spike escape rate."""

    @staticmethod
    def forward(ctx, u, params):
        ctx.save_for_backward(u)
        ctx.params = params
        return (u >= params.threshold).to(u.dtype)

    @staticmethod
    def backward(ctx, grad):
        scale = ctx.params.tau_rho * ctx.params.threshold
        (u,) = ctx.saved_tensors
        return grad * torch.exp(-torch.abs(u - ctx.params.threshold) / scale) / scale, None


def convolved(current, params):
    """Spikes of a current [T, N] from matrix products with the sampled kernels, for autograd to go back through."""
    eps, nu = (torch.tensor(kernel, dtype=current.dtype) for kernel in kernels(len(current), params))
    steps = torch.arange(len(current))
    lag = steps.unsqueeze(1) - steps
    response = torch.where(lag >= 0, eps[lag.clamp(min=0)], 0) @ current
    spikes = []
    for t in range(len(current)):
        refractory = sum((nu[t - k] * spikes[k].detach() for k in range(t)), torch.zeros_like(current[0]))
        spikes.append(StepWithSlope.apply(response[t] + refractory, params))
    return torch.stack(spikes)


@NEURONS
def test_gradient_is_autograds_through_the_convolutions(params):
    current, grad = case((40, 11), params)
    leaf = current.requires_grad_()
    spikes, expected = srm_scan(leaf, params), convolved(leaf, params)
    assert torch.equal(spikes, expected)
    (ours,) = torch.autograd.grad(spikes, leaf, grad)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, leaf, grad)[0], rtol=0, atol=1e-12)


@given(
    st.integers(1, 25),
    st.sampled_from([1, 3, 1023, 1025, 2500]),
    st.sampled_from([0.3, 1.0, 10.0]),
    st.sampled_from([0.2, 1.0, 10.0, 300.0]),
    st.sampled_from([0.2, 1.0, 7.0]),
    st.sampled_from([0.1, 1.0, 3.0]),
    st.booleans(),
    st.integers(0, 9),
)
def test_any_shape_and_neuron(steps, neurons, threshold, tau_s, tau_r, size, held, seed):
    """The compiled scan rounds as the plain one does, in both precisions; in single, its exp is another one."""
    params = SRMParameters(threshold, tau_s, tau_r, refractory=size, tau_rho=size)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        current, grad = case((steps, neurons), params, dtype, seed)
        x, held_long = (current[:1], held and steps > 1) if held else (current, False)
        expected, got = (scan.forward(x, steps, params) for scan in (srm_reference, srm_kernels))
        assert all(map(torch.equal, got, expected))
        expected, got = (scan.backward(got[0], grad, params, held_long) for scan in (srm_reference, srm_kernels))
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@SCANS
@NEURONS
def test_long_windows_stay_accurate_in_single_precision(scan, params):
    """Given the spikes that came, potentials are the sums' to single precision; so are gradients."""
    steps = 300
    current, grad = case((steps, 20), params, torch.float32)
    u, s = scan.forward(current, steps, params)
    eps, nu = (torch.tensor(kernel, dtype=torch.float64) for kernel in kernels(steps, params))
    lag = torch.arange(steps).unsqueeze(1) - torch.arange(steps)
    eps, nu = (torch.where(lag >= 0, kernel[lag.clamp(min=0)], 0) for kernel in (eps, nu))
    exact = eps @ current.double() + nu @ s.double()
    assert 0.01 < s.mean() < 0.6
    size = (eps @ current.double().abs() + nu.abs() @ s.double()).max()  # sums that cancel are as good as their terms
    torch.testing.assert_close(u.double(), exact, rtol=0, atol=float(1e-6 * size))
    exact = credited(u.double(), grad.double(), params)
    torch.testing.assert_close(scan.backward(u, grad, params, False).double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("grad_mode", [True, False])
def test_a_current_that_is_held_is_a_current_like_any_other(grad_mode):
    params = SRMParameters()
    current, grad = case((1, 4, 7), params)
    results = []
    for over_time in (lambda x: constant_current(x[0], 50), lambda x: x.repeat(50, 1, 1)):
        leaf = current.clone().requires_grad_(grad_mode)
        spikes = srm_scan(over_time(leaf), params)
        results.append((spikes.detach(), *(torch.autograd.grad(spikes, leaf, spikes * 2 + grad) if grad_mode else ())))
    assert results[0][0].any()
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)


def test_threads_change_nothing():
    """Enough neurons for several parts."""
    params = SRMParameters()
    current, grad = case((7, 5, 9001), params, torch.float32)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        u, s = srm_kernels.forward(current, 7, params)
        results.append((u, s, srm_kernels.backward(u, grad, params, False)))
    torch.set_num_threads(1)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_one_input_spike_lifts_the_potential_by_its_weight_at_tau_s():
    """eps(tau_s) = 1 is its peak."""
    current = torch.zeros(40, 1, 1, dtype=torch.float64)
    current[3] = 6.5
    u, s = srm_potentials(current, SRMParameters(tau_s_ms=8.0))
    assert u.argmax() == 3 + 8
    assert u.max().item() == pytest.approx(6.5, rel=1e-14)
    assert not s.any()
    assert not u[:4].any()


@pytest.mark.parametrize("step_ms", [1.0, 0.25])
def test_an_own_spike_takes_refractory_thresholds_away_tau_r_later(step_ms):
    """One input lets u[1] pass the threshold; from there on eps falls, and nothing else fires."""
    params = SRMParameters(tau_s_ms=step_ms, tau_r_ms=2.0, refractory=3.0, step_ms=step_ms)
    current = torch.zeros(41, 1, 1, dtype=torch.float64)
    a, c = params.response
    current[0] = 10.5 / (c * a)
    u, s = srm_potentials(current, params)
    assert s.flatten().nonzero().tolist() == [[1]]
    later = 1 + round(2.0 / step_ms)
    eps = alpha(later * step_ms, step_ms) * current[0].item()
    assert u[later].item() == pytest.approx(eps - 3.0 * 10.0, rel=1e-12)


def test_shorter_steps_approach_one_solution():
    """A current density that is held: potentials at the same times, to first order in the step."""
    ends = []
    for step in (0.1, 0.05, 0.025):
        params = SRMParameters(threshold=1e9, step_ms=step)
        u, _ = srm_potentials(
            constant_current(torch.full((1, 1), step, dtype=torch.float64), round(30 / step) + 1), params
        )
        ends.append(u[-1].item())
    exact = math.e * 10 * (1 - math.exp(-3) * 4)  # the integral of eps from 0 to 30 ms
    errors = [abs(end - exact) for end in ends]
    assert errors[0] < 0.01 * exact
    assert errors[0] > 1.9 * errors[1] > 3.6 * errors[2]


def test_what_was_never_above_tiny_costs_and_changes_nothing():
    """States of neurons silent for long are set to zero before they become subnormal."""
    params = SRMParameters(tau_s_ms=1.0)
    current = torch.zeros(400, 1, 3)
    current[0] = 40
    compiled, plain = (scan.forward(current, 400, params) for scan in (srm_kernels, srm_reference))
    assert torch.equal(compiled[1], plain[1])
    torch.testing.assert_close(compiled[0], plain[0], rtol=0, atol=1e-33)
    assert compiled[1].any()
    assert not compiled[0][-1].any()


def test_exp_in_single_precision_is_right_to_the_last_digits():
    x = np.concatenate([np.linspace(0, 87, 200_001), np.geomspace(1e-9, 1, 1000)]).astype(np.float32)
    ones = np.ones_like(x).reshape(1, -1)
    params = SRMParameters(threshold=1.0)
    grad = torch.zeros(2, x.size)
    grad[1] = 1
    potentials = torch.from_numpy(np.concatenate([ones, ones + x]))
    a, c = params.response
    slopes = srm_kernels.backward(potentials, grad, params, False)[0].double() / (a * c)
    exact = torch.exp(-(potentials[1].double() - 1))
    assert ((slopes - exact).abs() / exact).max() < 5e-7


@SCANS
def test_far_from_the_threshold_nothing_is_learned_and_nan_stays(scan):
    params = SRMParameters(threshold=1.0)
    far = torch.tensor([[1.0, 1.0, 1.0], [1e6, -1e6, math.nan]])
    grad = scan.backward(far, torch.tensor([[0.0], [1.0]]).expand(2, 3).contiguous(), params, False)[0]
    assert grad[:2].abs().max() < 1e-30
    assert grad[2].isnan()


def test_a_layer_holds_its_neuron_and_no_state():
    params = SRMParameters(threshold=2.0)
    layer = SRM(params)
    current, _ = case((20, 3, 4), params)
    assert torch.equal(layer(current), layer(current))
    assert torch.equal(layer(current), srm_potentials(current, params)[1])
    assert SRM().params == SRMParameters()
    assert "SRM(threshold=2.0, tau_s_ms=10.0, tau_r_ms=1.0, step_ms=1.0)" in repr(layer)


def test_without_a_gradient_no_potentials_are_kept(monkeypatch):
    kept = []
    forward = srm_kernels.forward
    monkeypatch.setattr(
        srm_kernels, "forward", lambda *arguments: kept.append(len(forward(*arguments)[0])) or forward(*arguments)
    )
    current, _ = case((9, 2, 3), SRMParameters())
    SRM()(current)
    SRM()(current.requires_grad_())
    assert kept == [1, 9]


def test_a_transposed_current_is_read_in_its_order():
    current, _ = case((9, 4, 3), SRMParameters())
    scanned = srm_scan(current.transpose(1, 2), SRMParameters())
    assert torch.equal(scanned, srm_scan(current, SRMParameters()).transpose(1, 2))


def test_where_numba_is_missing_the_plain_scan_runs(monkeypatch):
    current, _ = case((9, 4, 3), SRMParameters())
    expected = srm_scan(current, SRMParameters())
    monkeypatch.setattr(compilers, "is_installed", lambda compiler: False)
    monkeypatch.setattr(srm_kernels, "forward", None)
    assert torch.equal(srm_scan(current, SRMParameters()), expected)


@pytest.mark.parametrize("name", ["threshold", "tau_s_ms", "tau_r_ms", "refractory", "tau_rho", "step_ms"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_parameters_are_above_zero(name, value):
    with pytest.raises(InputError, match=f"{name}: expected a positive number"):
        SRMParameters(**{name: value})


@pytest.mark.parametrize("current", [torch.zeros(0, 2, 3), torch.zeros(4), torch.zeros(2, 3, dtype=torch.int64)])
@pytest.mark.parametrize("function", [srm_scan, srm_potentials])
def test_a_current_without_time_or_of_integers_is_refused(function, current):
    with pytest.raises(InputError, match=r"current: expected floats of shape \[T, N, ...\] with T >= 1"):
        function(current, SRMParameters())
