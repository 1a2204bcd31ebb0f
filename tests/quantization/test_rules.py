from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.quantization.rules import (
    RULES,
    SCALES,
    by_group,
    fit_scale,
    make_rule,
    mean_fraction,
    mean_rounding,
    quantile,
    ternary_codes,
    ternary_parts,
)

ARGUMENTS = [("mean-fraction", {"factor": 0.7}), ("mean-fraction", {"factor": 1.0}), ("mean-rounding", {})]
ARGUMENTS += [("quantile", {"sparsity": sparsity}) for sparsity in (0.0, 0.2, 0.5, 0.9)]


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    """Weights with ties, zeros and groups of zeros; quarters, whose sums and means over 4 are exact."""
    shape = (draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 4])), *draw(st.sampled_from([(), (2,), (1, 2)])))
    values = st.integers(-8, 8).map(lambda n: n / 4) | st.sampled_from([0.0, -0.0, 1.0, -1.0])
    values |= st.floats(-2, 2, width=32)
    count = int(np.prod(shape))
    return torch.tensor(draw(st.lists(values, min_size=count, max_size=count))).double().reshape(shape)


def groups_of(weight: Tensor, scale: str) -> list[list[float]]:
    return [row.tolist() for row in weight.flatten(1)] if scale == "channel" else [weight.flatten().tolist()]


@given(weights(), st.sampled_from(ARGUMENTS), st.sampled_from(SCALES))
def test_codes_and_scales_are_those_of_a_loop(weight, rule, scale):
    name, options = rule
    codes, factor = ternary_codes(weight, make_rule(name, options), scale)
    assert codes.shape == weight.shape
    groups = groups_of(weight, scale)
    assert factor.shape == (len(groups), *[1] * (weight.dim() - 1))
    for group, found, size in zip(groups, groups_of(codes, scale), factor.flatten().tolist(), strict=True):
        if name == "quantile":
            check_quantile(group, found, options["sparsity"])
        else:
            threshold = options.get("factor", 0.5) * float(np.mean(np.abs(group)))
            assert found == [float(np.sign(w)) if abs(w) > threshold else 0.0 for w in group]
        kept = [abs(w) for w, code in zip(group, found, strict=True) if code]
        assert size == pytest.approx(1.0 if scale == "none" else float(np.mean(kept)) if kept else 0.0, rel=1e-12)


def check_quantile(group: list[float], codes: list[float], sparsity: float) -> None:
    """The smallest weights are zero, as many as asked for unless more are zero already, and the others their signs."""
    assert codes.count(0.0) == max(round(sparsity * len(group)), group.count(0.0))
    dropped = [abs(w) for w, code in zip(group, codes, strict=True) if code == 0]
    kept = [(abs(w), np.sign(w), code) for w, code in zip(group, codes, strict=True) if code != 0]
    assert all(sign == code for _, sign, code in kept)
    assert max(dropped, default=0) <= min((size for size, _, _ in kept), default=np.inf)


@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=n * 6)),
    st.floats(0, 0.99),
    st.sampled_from(SCALES),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_weights_that_are_tied_become_zero_in_the_number_that_was_asked_for(values, sparsity, scale, dtype):
    weight = torch.tensor(values[: len(values) // 6 * 6], dtype=dtype).reshape(-1, 6)
    codes, _ = ternary_codes(weight, quantile(sparsity), scale)
    for group, found in zip(groups_of(weight, scale), groups_of(codes, scale), strict=True):
        check_quantile(group, found, sparsity)
    assert torch.equal(ternary_codes(weight, quantile(sparsity), scale)[0], codes)


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(40, 50), (64, 64), (7, 300), (8, 4, 3, 3)])
def test_ties_are_spread_over_rows_and_columns(sparsity, shape):
    """Of weights that are all alike, no neuron and no input loses much more than its share."""
    codes, _ = ternary_codes(torch.ones(shape), quantile(sparsity))
    zeros = (codes == 0).double().flatten(1)
    assert zeros.sum() == round(sparsity * codes.numel())
    for axis in (0, 1):
        mean = zeros.mean(axis)
        assert (mean - sparsity).abs().max() <= max(0.1, 2 / zeros.shape[axis])


@given(weights(), st.sampled_from(ARGUMENTS), st.sampled_from(SCALES), st.floats(0, 0.99))
def test_a_ternary_weight_keeps_its_codes_where_it_has_the_zeros_already(weight, rule, scale, sparsity):
    codes, factor = ternary_codes(weight, make_rule(*rule), scale)
    again, size = ternary_codes(codes * factor, quantile(sparsity), scale)
    for before, after in zip(groups_of(codes, scale), groups_of(again, scale), strict=True):
        if before.count(0.0) >= round(sparsity * len(before)):
            assert before == after
        assert all(code in (0.0, old) for old, code in zip(before, after, strict=True))
    if torch.equal(again, codes) and scale != "none":
        torch.testing.assert_close(size, factor)


HALVES = [torch.float16, torch.bfloat16]


@given(weights(), st.sampled_from([*ARGUMENTS, ("mean-fraction", {"factor": 1.17})]), st.sampled_from(SCALES))
def test_weights_in_half_precision_have_the_codes_of_the_same_weights_in_float32(weight, rule, scale):
    for dtype in HALVES:
        half = weight.to(dtype)
        codes, factor = ternary_codes(half, make_rule(*rule), scale)
        wanted, size = ternary_codes(half.float(), make_rule(*rule), scale)
        assert codes.dtype == factor.dtype == dtype
        assert torch.equal(codes.float(), wanted)
        assert torch.equal(factor, size.to(dtype))
        assert torch.equal(fit_scale(half, codes, scale), fit_scale(half.float(), wanted, scale).to(dtype))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("rule", ARGUMENTS)
def test_many_weights_in_half_precision(rule, scale, dtype, generator):
    """Sums and counts of 400,000, of which float16 has none and bfloat16 only every 2,048th."""
    half = torch.randn(8, 50_000, generator=generator).to(dtype)
    codes, factor = ternary_codes(half, make_rule(*rule), scale)
    wanted, size = ternary_codes(half.double(), make_rule(*rule), scale)
    assert (codes != wanted).sum() <= 2  # at the threshold, where float32 rounds
    torch.testing.assert_close(factor, size.to(dtype))
    torch.testing.assert_close(fit_scale(half, codes, scale), size.to(dtype))
    parts = ternary_parts(codes * factor)
    assert parts is not None
    assert parts[1].dtype == dtype
    assert torch.equal(parts[0] * parts[1], codes * factor)


@pytest.mark.parametrize("rule", ARGUMENTS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_weight_that_is_not_finite_is_not_hidden(rule, scale, bad):
    """Neither NaN nor infinity becomes a plain zero or one, which would hide that a training diverged."""
    codes, factor = ternary_codes(torch.tensor([[0.5, bad, -1.0, 0.1]]), make_rule(*rule), scale)
    assert not (codes * factor).isfinite().all()


@given(weights(), st.sampled_from(ARGUMENTS), st.sampled_from(SCALES))
def test_a_zero_code_is_never_minus_zero(weight, rule, scale):
    codes, factor = ternary_codes(weight, make_rule(*rule), scale)
    product = codes * factor
    assert not torch.signbit(product[product == 0]).any()


@pytest.mark.parametrize(("rule", "kept"), [(mean_rounding(), False), (mean_fraction(0.499), True)])
def test_a_weight_at_the_threshold_becomes_zero(rule, kept):
    weight = torch.tensor([[0.5, -0.5, 1.5, -1.5]])  # mean magnitude 1
    codes, _ = ternary_codes(weight, rule)
    assert codes.tolist() == [[kept, -kept, 1, -1]]


@given(weights(), st.sampled_from(ARGUMENTS))
def test_the_scale_is_the_least_squares_optimum(weight, rule):
    codes, factor = ternary_codes(weight, make_rule(*rule))
    if codes.any():
        columns = codes.reshape(-1, 1).numpy()
        optimum, *_ = np.linalg.lstsq(columns, weight.reshape(-1).numpy(), rcond=None)
        assert factor.item() == pytest.approx(optimum[0], rel=1e-9)


def test_the_scale_fits_codes_of_any_origin():
    weight = torch.tensor([[1.0, 2.0, -3.0], [0.5, 0.5, 0.5]])
    codes = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert fit_scale(weight, codes, "channel").tolist() == [[-1.0], [0.0]]
    assert fit_scale(weight, codes, "layer").tolist() == [[-1.0]]
    assert fit_scale(weight, codes, "none").tolist() == [[1.0]]


@given(st.integers(1, 60), st.floats(0, 0.999), st.integers(0, 9), st.sampled_from(["layer", "channel"]))
def test_the_quantile_reaches_its_sparsity_to_one_weight(count, sparsity, seed, scale):
    weight = torch.randn(3, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    codes, _ = ternary_codes(weight, quantile(sparsity), scale)
    for group in by_group(codes, scale):
        assert abs((group == 0).sum().item() - sparsity * len(group)) <= 0.5


@pytest.mark.parametrize(("draw", "best"), [(torch.rand, 2 / 3), (torch.randn, 3 / 4)])
def test_the_best_factor_is_as_the_docstring_says(draw, best, generator):
    weight = draw(100_000, generator=generator, dtype=torch.float64)[None]
    factors = torch.arange(0.4, 1.1, 0.01)
    errors = []
    for factor in factors.tolist():
        codes, scale = ternary_codes(weight, mean_fraction(factor))
        errors.append(((weight - scale * codes) ** 2).sum())
    assert factors[int(torch.stack(errors).argmin())].item() == pytest.approx(best, abs=0.03)


def test_a_weight_with_a_gradient_is_taken_and_left_alone():
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = weight.detach().clone()
    codes, scale = ternary_codes(weight, mean_fraction())
    assert not codes.requires_grad
    assert not scale.requires_grad
    assert torch.equal(weight, before)


@given(weights(), st.sampled_from(ARGUMENTS), st.sampled_from(SCALES))
def test_parts_give_a_ternary_weight_back(weight, rule, scale):
    codes, factor = ternary_codes(weight, make_rule(*rule), scale)
    ternary = codes * factor
    parts = ternary_parts(ternary)
    assert parts is not None
    assert parts[0].dtype == torch.int8
    assert torch.equal(parts[0] * parts[1], ternary)
    scales = {tuple(sorted(set(row[row != 0].abs().tolist()))) for row in ternary.flatten(1)} - {()}
    assert parts[1].numel() == (1 if len(scales) <= 1 else len(ternary))


@pytest.mark.parametrize(
    "weight",
    [
        torch.tensor([[0.1, 0.2]]),
        torch.tensor([[0.5, -0.5], [0.5, 0.25]]),
        torch.tensor([[1.0, torch.nan]]),
        torch.tensor([[0.3, torch.nextafter(torch.tensor(0.3), torch.tensor(1.0))]]),
    ],
)
def test_another_weight_has_no_parts(weight):
    assert ternary_parts(weight) is None


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: make_rule("mean"), "^rule: expected one of"),
        (lambda: make_rule("quantile", {"factor": 1}), r"^rule: 'quantile' does not take these options: .*'factor'"),
        (lambda: mean_fraction(0.0), "^factor: expected a positive number"),
        (lambda: quantile(1.0), "^sparsity: expected 0 <= value < 1"),
        (lambda: ternary_codes(torch.ones(2, 2), mean_fraction(), "row"), "^scale: expected one of"),
        (lambda: fit_scale(torch.ones(2, 2), torch.ones(2, 2), "row"), "^scale: expected one of"),
    ],
)
def test_bad_arguments_are_refused(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_every_rule_has_been_tested():
    assert {name for name, _ in ARGUMENTS} == set(RULES)
