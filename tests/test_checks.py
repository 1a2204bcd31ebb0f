from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsnn_uq.checks import (
    InputError,
    check_choice,
    check_dims,
    check_fraction,
    check_labels,
    check_positive,
    check_probabilities,
    class_numbers,
    describe,
)

NAN, INF = float("nan"), float("inf")


def refused(check, match: str) -> bool:
    """Whether `check` raises with this whole message, and in one line."""
    with pytest.raises(InputError, match=rf"^{match}$") as error:
        check()
    return "\n" not in str(error.value) and isinstance(error.value, ValueError)


def test_values_are_described_briefly():
    assert describe(torch.zeros(2, 3, dtype=torch.float64)) == "a float64 tensor of shape [2, 3]"
    assert describe(torch.tensor(True)) == "a bool tensor of shape []"
    assert describe("text") == "'text'"
    assert describe("x" * 78) == repr("x" * 78)
    assert describe("x" * 79) == "'" + "x" * 76 + "..."


@given(st.text(max_size=3) | st.sampled_from(["soft", "hard"]))
def test_a_choice_is_given_back_or_refused(value):
    if value in ("soft", "hard"):
        assert check_choice("reset", value, ("soft", "hard")) is value
    else:
        assert refused(
            lambda: check_choice("reset", value, iter(("soft", "hard"))),
            rf"reset: expected one of soft, hard; got {re.escape(repr(value))}( \(did you mean '\w+'\?\))?",
        )


def test_the_nearest_choice_is_suggested_if_one_is_near():
    assert refused(
        lambda: check_choice("mask", "fxied", ("fixed", "per-step")),
        r"mask: expected one of fixed, per-step; got 'fxied' \(did you mean 'fixed'\?\)",
    )
    assert refused(
        lambda: check_choice("mask", "zzz", ("fixed", "per-step")), "mask: expected one of fixed, per-step; got 'zzz'"
    )
    assert refused(lambda: check_choice("mask", None, ("fixed",)), "mask: expected one of fixed; got None")


@pytest.mark.parametrize("value", [1, 0.5, 1e-300, 10**400])
def test_positive_numbers_pass(value):
    check_positive("x", value)


@pytest.mark.parametrize("value", [0, -1, 0.0, -0.0, NAN, INF, -INF, True, "1", None])
def test_all_else_is_not_positive(value):
    assert refused(lambda: check_positive("x", value), f"x: expected a positive number; got {value!r}")


@pytest.mark.parametrize("value", [0, -1, 1.0, 0.5, NAN, True, "1"])
def test_positive_whole_numbers_are_ints(value):
    check_positive("x", 1, integer=True)
    match = f"x: expected a positive whole number; got {value!r}"
    assert refused(lambda: check_positive("x", value, integer=True), match)


@given(st.floats() | st.sampled_from([0.0, 1.0, 0, 1, -0.0, 5e-324, 1 - 2**-53, 1 + 2**-52]))
def test_a_fraction_is_from_zero_to_one(value):
    if 0 <= value <= 1:
        check_fraction("p", value)
    else:
        assert refused(lambda: check_fraction("p", value), re.escape(f"p: expected 0 <= value <= 1; got {value!r}"))
    if 0 <= value < 1:
        check_fraction("p", value, below_one=True)
    else:
        match = re.escape(f"p: expected 0 <= value < 1; got {value!r}")
        assert refused(lambda: check_fraction("p", value, below_one=True), match)


@pytest.mark.parametrize("value", [True, "0.5", None])
def test_a_fraction_is_a_number(value):
    assert refused(lambda: check_fraction("p", value), f"p: expected 0 <= value <= 1; got {value!r}")


def test_axes_are_counted():
    check_dims("x", torch.zeros(1, 2, 3), "[S, N, C]")
    check_dims("x", torch.zeros(1), "[N]")
    match = r"x: expected a tensor of shape \[S, N, C\]; got a float32 tensor of shape \[1, 2\]"
    assert refused(lambda: check_dims("x", torch.zeros(1, 2), "[S, N, C]"), match)
    assert refused(lambda: check_dims("x", [0.5], "[N]"), r"x: expected a tensor of shape \[N\]; got \[0.5\]")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_a_softmax_is_always_probabilities(dtype, classes, generator):
    logits = 5 * torch.randn(50, classes, generator=generator).to(dtype)
    check_probabilities("p", logits.softmax(-1))


@pytest.mark.parametrize(
    "probs",
    [
        torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]),
        torch.tensor([[1.0000001, 0.0]]),  # rounding, and not logits
        torch.tensor([[1.0]]),
        torch.empty(0, 3),
    ],
)
def test_edges_are_probabilities(probs):
    check_probabilities("p", probs)
    check_probabilities("p", probs[None], "[S, N, C]")


@pytest.mark.parametrize(
    ("probs", "match"),
    [
        (torch.tensor([1.0]), r"p: expected a tensor of shape \[N, C\]; got a float32 tensor of shape \[1\]"),
        (torch.tensor([[0, 1]]), r"p: expected floating-point probabilities; got a int64 tensor of shape \[1, 2\]"),
        (torch.empty(3, 0), r"p: expected at least one class; got a float32 tensor of shape \[3, 0\]"),
        (torch.tensor([[1.1, -0.1]]), r"p: expected probabilities in \[0, 1\]; got values from -0.1 to 1.1 \(are .*\)"),
        (torch.tensor([[NAN, 0.5]]), r"p: expected probabilities in \[0, 1\]; got values from nan to nan \(are .*\)"),
        (torch.tensor([[INF, 0.5]]), r"p: expected probabilities in \[0, 1\]; got values from 0.5 to inf \(are .*\)"),
        (torch.tensor([[0.5, 0.5], [0.5, 0.4]]), "p: expected rows that sum to 1; got a row that is off by 0.1"),
        (torch.zeros(1, 2), "p: expected rows that sum to 1; got a row that is off by 1"),
    ],
)
def test_what_is_not_probabilities_is_refused(probs, match):
    assert refused(lambda: check_probabilities("p", probs), match)


INTEGERS = [
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_of_any_integer_dtype_become_int64(dtype):
    top = min(torch.iinfo(dtype).max, 70_000)
    for labels in ([0, 2, 1], [top, 0, top - 1], []):
        target = torch.tensor(labels, dtype=dtype)
        found = check_labels("y", target, top + 1, count=len(labels))
        assert found.dtype == torch.int64
        assert found.tolist() == labels
        assert class_numbers("y", torch.stack([target, target], 1)[:, 0]).tolist() == labels  # strided
    assert refused(
        lambda: check_labels("y", torch.tensor([top], dtype=dtype), top), r"y: expected labels from 0 to \d+; got .*"
    )


def test_no_label_wraps_around():
    for far in (torch.tensor([2**64 - 1], dtype=torch.uint64), torch.tensor([-1], dtype=torch.int8)):
        assert refused(lambda far=far: check_labels("y", far, 10), "y: expected labels from 0 to 9; got -1 to -1")


@pytest.mark.parametrize(
    ("target", "match"),
    [
        (torch.zeros(2, 1).long(), r"y: expected a tensor of shape \[N\]; got a int64 tensor of shape \[2, 1\]"),
        (
            torch.tensor([0.0, 1.0]),
            r"y: expected whole class numbers; got a float32 tensor .* \(convert .* \.long\(\)\)",
        ),
        (torch.tensor([True, False]), r"y: expected whole class numbers; got a bool tensor .*"),
        (torch.tensor([0, 1, 2]), "y: expected 2 labels, one per input; got 3"),
        (torch.tensor([0, 3]), "y: expected labels from 0 to 2; got 0 to 3"),
        (torch.tensor([-1, 2]), "y: expected labels from 0 to 2; got -1 to 2"),
    ],
)
def test_other_labels_are_refused(target, match):
    assert refused(lambda: check_labels("y", target, 3, count=2), match)
