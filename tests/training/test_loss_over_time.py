"""The loss at every step, or after some of them, in place of that of the mean over time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.helpers.training import TINY, images, method, mlp, network, same
from tsnn_uq.checks import InputError
from tsnn_uq.training import FitSettings, Float, fit, forward_batch, make_regularizer
from tsnn_uq.training.losses import distillation
from tsnn_uq.uncertainty import set_generator


def run(times, regularizer="none", **options):
    """What one pass over a batch gave, and the outputs [T, R, C] of the same pass."""
    model, seen = network(steps=3, **options).train(), []
    model.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    wanted = make_regularizer(regularizer)
    set_generator(model, *[torch.Generator().manual_seed(0)] * wanted.passes)
    forward = forward_batch(model, *images(7), wanted, seed=0, step=0, loss_over_time=times)
    return forward, torch.cat(seen, 1)


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ("", lambda outputs: [outputs.mean(0)]),
        ("every", lambda outputs: list(outputs)),
        ((3,), lambda outputs: [outputs.mean(0)]),
        ((1, 3), lambda outputs: [outputs[0], outputs.mean(0)]),
        ((2,), lambda outputs: [outputs[:2].mean(0)]),
    ],
)
def test_the_loss_is_the_mean_of_the_losses_at_those_times(times, wanted):
    forward, outputs = run(times)
    expected = torch.stack([cross_entropy(logits, forward.target) for logits in wanted(outputs)]).mean()
    torch.testing.assert_close(Float().term(forward), expected)
    torch.testing.assert_close(forward.all_logits, outputs.mean(0))  # what regularizers see


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
def test_all_passes_count_and_inputs_of_regularizers_do_not(family):
    forward, outputs = run("every", "variance:1+outliers:1", family=family)
    torch.testing.assert_close(forward.loss_logits.mean(0), forward.all_logits)
    assert forward.loss_logits.shape == (3, len(forward.all_logits), 3)
    assert len(forward.all_logits) < outputs.shape[1]


def test_a_teacher_speaks_to_every_step():
    taught = method("distill", temperature=3.0, weight=0.25)
    data = images(7)
    taught.start(network(), data)
    forward, outputs = run("every")
    losses = [
        0.75 * cross_entropy(logits, data[1]) + 0.25 * distillation(logits, taught.wanted, 3.0) for logits in outputs
    ]
    torch.testing.assert_close(taught.term(forward), torch.stack(losses).mean())


@pytest.mark.parametrize("name", ["float", "direct", "indirect", "distill"])
def test_every_method_learns_by_it(name):
    def trained(times):
        model = network(steps=3)
        fit(model, images(), seed=0, method=method(name), settings=replace(TINY, loss_over_time=times))
        return model

    assert same(trained("every"), trained("every"))
    assert not same(trained("every"), trained(()))


@pytest.mark.parametrize("times", ["each", (0,), (1, 1), (1.5,)])
def test_what_is_no_time_is_refused(times):
    with pytest.raises(InputError, match="loss_over_time: expected"):
        FitSettings(loss_over_time=times)


def test_times_that_a_network_does_not_have_are_told():
    with pytest.raises(InputError, match="loss_over_time: expected steps from 1 to 3"):
        run((4,))
    with pytest.raises(InputError, match=r"outputs: expected shape \[T, N, C\]"):
        fit(mlp(), images(), seed=0, settings=replace(TINY, loss_over_time="every"))
