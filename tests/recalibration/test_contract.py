"""What every recalibration keeps: one interface, its checks, and what it does to shapes and dtypes."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import tsnn_uq.recalibration as R
from tsnn_uq.checks import InputError

METHODS = [name for name in R.__all__ if name != "Recalibrator"]


@pytest.fixture
def held_out(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    logits = torch.randn(60, 4, generator=generator)
    return (2 * logits).softmax(-1), torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


def fitted(name: str, probs: Tensor, target: Tensor) -> Tensor:
    return getattr(R, name)().fit(probs, target).transform(probs)


@pytest.mark.parametrize("name", METHODS)
class TestContract:
    def test_gives_probabilities_in_the_same_form(self, name: str, held_out: tuple[Tensor, Tensor]) -> None:
        method = getattr(R, name)()
        assert isinstance(method, R.Recalibrator)
        assert method.fit(*held_out) is method
        probs = held_out[0]
        for given, dtype in [
            (probs, torch.float32),
            (probs.double(), torch.float64),
            (probs.half(), torch.float32),
            (probs.bfloat16(), torch.float32),
            (probs.T.contiguous().T, torch.float32),
            (probs.expand(3, -1, -1), torch.float32),
            (probs[:1], torch.float32),
            (probs[:0], torch.float32),
        ]:
            mapped = method.transform(given)
            assert mapped.shape == given.shape
            assert mapped.dtype == dtype
            assert (mapped >= 0).all()
            torch.testing.assert_close(mapped.sum(-1), torch.ones(given.shape[:-1], dtype=dtype), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_without_gradients(self, name: str, held_out: tuple[Tensor, Tensor], mode: Callable[[], Any]) -> None:
        """The same numbers, which are of use where gradients are wanted again."""
        expected = fitted(name, *held_out)
        with mode():
            made = [x.clone() for x in held_out]
            inside = fitted(name, *made)
        for mapped in (inside, fitted(name, *made), fitted(name, held_out[0].clone().requires_grad_(), held_out[1])):
            assert torch.equal(mapped, expected)
            assert not mapped.requires_grad
            mapped.requires_grad_().square().sum().backward()  # refused of tensors made in inference mode

    def test_layouts_and_default_dtypes(self, name: str, held_out: tuple[Tensor, Tensor]) -> None:
        probs, target = held_out
        expected = fitted(name, probs, target)
        strided = torch.stack([target, target], 1)[:, 0]
        torch.testing.assert_close(fitted(name, probs.T.contiguous().T, strided), expected)
        before = torch.get_default_dtype()
        try:
            for dtype in (torch.float64, torch.bfloat16):
                torch.set_default_dtype(dtype)
                assert torch.equal(fitted(name, probs, target), expected)
        finally:
            torch.set_default_dtype(before)
        for dtype in (torch.float16, torch.bfloat16):
            assert (
                fitted(name, probs.to(dtype), target) - expected
            ).abs().mean() < 0.01  # steps may move a single one far

    def test_tells_whether_the_held_out_inputs_determine_it(self, name: str, held_out: tuple[Tensor, Tensor]) -> None:
        probs, target = held_out
        method = getattr(R, name)()
        assert not method.determined
        if name == "HistogramBinning":  # in 15 bins some are empty
            method = R.HistogramBinning(2)
        assert method.fit(probs, target).determined
        assert not method.fit(probs, torch.zeros_like(target)).determined  # never of another class
        assert not method.fit(probs[:1], target[:1]).determined

    def test_order_of_the_inputs_does_not_matter(
        self, name: str, held_out: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> None:
        probs, target = held_out
        order = torch.randperm(60, generator=generator)
        one, other = getattr(R, name)().fit(probs, target), getattr(R, name)().fit(probs[order], target[order])
        torch.testing.assert_close(one.transform(probs), other.transform(probs), rtol=0, atol=1e-4)

    def test_fits_anew(self, name: str, held_out: tuple[Tensor, Tensor]) -> None:
        probs, target = held_out
        twice, fresh = getattr(R, name)().fit(probs, (target + 1) % 4).fit(probs, target), getattr(R, name)()
        torch.testing.assert_close(twice.transform(probs), fresh.fit(probs, target).transform(probs))

    def test_two_classes_and_one_input(self, name: str) -> None:
        probs = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.8, 0.2]])
        assert getattr(R, name)().fit(probs, torch.tensor([0, 1, 1])).transform(probs).isfinite().all()
        assert getattr(R, name)().fit(probs[:1], torch.tensor([0])).transform(probs).isfinite().all()

    def test_refuses_what_does_not_fit(self, name: str, held_out: tuple[Tensor, Tensor]) -> None:
        probs, target = held_out
        method = getattr(R, name)()
        with pytest.raises(InputError, match=f"{name}: expected fit before transform"):
            method.transform(probs)
        for bad_probs, bad_target, message in [
            (probs[0], target, r"probs: expected a tensor of shape \[N, C\] or \[S, N, C\]"),
            (8 * probs, target, "apply softmax first"),
            (probs * math.nan, target, "got values from nan"),
            (probs / 2, target, "rows that sum to 1"),
            (probs, target[:9], "target: expected 60 labels, one per input"),
            (probs, target + 1, "target: expected labels from 0 to 3"),
            (probs[:0], target[:0], "at least one input to fit to"),
        ]:
            with pytest.raises(InputError, match=message):
                method.fit(bad_probs, bad_target)
        method.fit(probs, target)
        with pytest.raises(InputError, match="probs: expected the 4 classes it"):
            method.transform(torch.full((2, 5), 0.2))


def test_import_is_lean() -> None:
    """In a fresh interpreter: what it takes to fit is loaded when it is used."""
    code = "import sys, tsnn_uq.recalibration; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & {"netcal", "pyro", "sklearn", "scipy", "torchmetrics", "matplotlib"}
