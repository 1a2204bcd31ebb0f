"""What all stopping rules share: streams against whole batches, samples, checks, and the summary of test inputs."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import Tensor

from tests.stopping.worlds import population
from tsnn_uq.checks import InputError
from tsnn_uq.stopping import ConformalStopping, RiskControlledExit, StoppingRule, StoppingSummary, stopping_summary

PROBS, LABELS = population(900, steps=7)
HELD_OUT, TEST = (PROBS[:, :600], LABELS[:600]), (PROBS[:, 600:], LABELS[600:])


def rules() -> list[StoppingRule]:
    return [
        RiskControlledExit(0.05, 0.1),
        RiskControlledExit(0.1, 0.1, "entropy", conditional=True),
        ConformalStopping(0.1),
        ConformalStopping(0.1, 2, method="aps", correction="simes", checkpoints=[2, 5]),
    ]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: type(rule).__name__)
class TestEveryRule:
    def test_a_stream_is_the_whole_batch_step_by_step(self, rule: StoppingRule) -> None:
        assert rule.fit(*HELD_OUT) is rule
        whole = rule.stop(TEST[0])
        stream = rule.stream(inputs=300)
        while len(stream.running):
            before = stream.running
            left = stream.update(TEST[0][stream.step, stream.running])
            assert torch.equal(stream.running, before[~left])
        for one, other in zip(stream.result(), whole, strict=True):
            assert torch.equal(one, other)
        assert 1 <= whole.steps.min() < whole.steps.max() <= 7
        one_by_one = [rule.stop(TEST[0][:, [n]]) for n in range(20)]
        assert torch.equal(torch.cat([single.sets for single in one_by_one]), whole.sets[:20])
        assert [single.steps.item() for single in one_by_one] == whole.steps[:20].tolist()

    def test_samples(self, rule: StoppingRule, generator: torch.Generator) -> None:
        """Equal samples are one; otherwise their mean decides, and the mean itself may be given."""
        same = rule.fit(*HELD_OUT).stop(TEST[0])
        again = rule.fit(HELD_OUT[0].expand(3, -1, -1, -1), HELD_OUT[1]).stop(TEST[0].expand(3, -1, -1, -1))
        assert all(torch.equal(one, other) for one, other in zip(same, again, strict=True))
        noise = torch.randn(3, *PROBS.shape, generator=generator, dtype=torch.float64)
        samples = (PROBS.double().log() + noise).softmax(-1)
        rule.fit(samples[:, :, :600], LABELS[:600])
        own, of_mean = rule.stop(samples[:, :, 600:]), rule.stop(samples[:, :, 600:].mean(0))
        assert torch.equal(own.steps, of_mean.steps)
        with pytest.raises(InputError, match="expected 3 Monte Carlo samples"):
            rule.stop(samples[:2, :, 600:])

    def test_dtypes_and_no_inputs(self, rule: StoppingRule) -> None:
        for dtype in (torch.float64, torch.float16, torch.bfloat16):
            stopped = rule.fit(HELD_OUT[0].to(dtype), HELD_OUT[1].int()).stop(TEST[0].to(dtype))
            assert [part.dtype for part in stopped] == [torch.int64, torch.int64, torch.bool]
        empty = rule.stop(TEST[0][:, :0])
        assert [list(part.shape) for part in empty] == [[0], [0], [0, 3]]
        copy = pickle.loads(pickle.dumps(rule))
        assert torch.equal(copy.stop(TEST[0]).steps, rule.stop(TEST[0]).steps)

    def test_refuses_what_does_not_fit(self, rule: StoppingRule) -> None:
        fresh, (probs, labels) = type(rule)(), HELD_OUT
        for use in (lambda: fresh.stop(probs), lambda: fresh.stream(3), lambda: StoppingSummary(fresh)):
            with pytest.raises(InputError, match="fit"):
                use()
        for bad, target, message in [
            (probs[0], labels, r"expected a tensor of shape \[T, N, C\] or \[S, T, N, C\]"),
            (probs * math.nan, labels, "got values from nan"),
            (3 * probs, labels, "apply softmax first"),
            (probs, labels + 1, "target: expected labels from 0 to 2"),
            (probs, labels[:-1], "target: expected 600 labels"),
            (probs[:, :0], labels[:0], "calibrate on"),
            (probs[:0], labels, "at least one sample and one time step"),
        ]:
            with pytest.raises(InputError, match=message):
                rule.fit(bad, target)
        rule.fit(*HELD_OUT)
        for bad, message in [
            (probs[:-1], "expected 7 time steps"),
            (probs.repeat(2, 1, 1), "expected 7 time steps"),
            (probs[..., :2].softmax(-1), "3 classes"),
            (probs * math.nan, "got values from nan"),
        ]:
            with pytest.raises(InputError, match=message):
                rule.stop(bad)
        stream = rule.stream(3)
        with pytest.raises(InputError, match="expected predictions of 3 running inputs"):
            stream.update(probs[0, :4])
        with pytest.raises(InputError, match="got 3 still running"):
            stream.result()

    def test_summary(self, rule: StoppingRule) -> None:
        rule.fit(*HELD_OUT)
        probs, labels = TEST
        points, stopped = stopping_summary(probs, labels, rule), rule.stop(probs)
        right, full = stopped.decisions == labels, probs[-1].argmax(-1) == labels
        wanted: dict[str, Tensor] = {
            "mean_steps": stopped.steps,
            "saved": 1 - stopped.steps / 7,
            "accuracy": right,
            "full_accuracy": full,
            "accuracy_gap": full & ~right,
            "coverage": stopped.sets[torch.arange(300), labels],
            "mean_size": stopped.sets.sum(-1),
        }
        for name, values in wanted.items():
            assert getattr(points, name).item() == pytest.approx(values.double().mean().item()), name
        for step in range(1, 8):
            left = stopped.steps <= step
            assert points.stopped[step - 1] == pytest.approx(left.double().mean().item())
            gap = (full & ~right)[left].double().mean().item()
            assert points.gap_by_step[step - 1].item() == pytest.approx(gap, nan_ok=True)
        running = StoppingSummary(rule)
        for rows in (slice(0, 10), slice(10, 10), slice(10, 300)):
            running.update(probs[:, rows], labels[rows])
        for one, other in zip(running.compute(), points, strict=True):
            assert torch.allclose(one, other, equal_nan=True)
        running.reset()
        running.update(probs[:, :0], labels[:0])
        with pytest.raises(InputError, match="expected at least one input"):
            running.compute()
        with pytest.raises(InputError, match="target: expected 300 labels"):
            stopping_summary(probs, labels[1:], rule)


def test_the_decision_is_the_most_probable_class_of_the_set() -> None:
    """A class that left does not come back, even if it is the most probable one in the end."""
    first, last = torch.tensor([0.6, 0.35, 0.05]), torch.tensor([0.3, 0.2, 0.5])
    probs = torch.stack([first, last])[:, None].repeat(1, 30, 1)
    rule = ConformalStopping(0.1).fit(probs, torch.tensor([0] * 15 + [1] * 15))
    stopped = rule.stop(probs[:, :1])
    assert (stopped.steps.item(), stopped.decisions.item(), stopped.sets.tolist()) == (2, 0, [[True, True, False]])
