from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tests.helpers.peers import peer
from tests.helpers.training import images, mlp, network
from tsnn_uq.checks import InputError
from tsnn_uq.seeds import derive_seed, global_seed
from tsnn_uq.state import rest
from tsnn_uq.training import Regularizer, forward_batch
from tsnn_uq.training.batch_layout import Layout
from tsnn_uq.uncertainty import make_stochastic, set_generator


class Wants(Regularizer):
    """Wants what it is told to want; its own inputs are the first images, halved."""

    def __init__(self, passes=1, share=1.0, extra=0.0):
        self.passes, self.share, self.extra_share = passes, share, extra

    def extra_inputs(self, images, generator):
        return images[: round(self.extra_share * len(images))] / 2


class Same(nn.Module):
    """Gives the inputs as logits."""

    def forward(self, inputs):
        return inputs.flatten(1)


class Noted:
    """A context that notes when it is entered and left."""

    def __init__(self, events):
        self.events = events

    def __enter__(self):
        self.events.append("enter")
        return "seen"

    def __exit__(self, *_):
        self.events.append("exit")


def forward(model, wants, count=6, step=0):
    pixels, labels = images(count)
    set_generator(model, *[torch.Generator().manual_seed(step)] * wants.passes)
    return forward_batch(model.train(), pixels, labels, wants, seed=0, step=step), pixels, labels


@given(st.integers(1, 4), st.integers(1, 9), st.floats(0.01, 1), st.sampled_from([0.0, 0.3, 1.0, 2.0]))
def test_everyone_gets_what_is_theirs(passes, count, share, extra):
    wants = Wants(passes, share, extra)
    got, pixels, labels = forward(Same(), wants, count)
    n, rows = got.layout.repeated, pixels.flatten(1)
    assert n >= share * count or passes == 1
    assert n < share * count + passes or passes == 1  # no more than it takes to fill groups evenly
    assert got.layout.rows == passes * n + count - n + len(got.extra_logits)
    assert torch.equal(got.mc_logits, rows[:n].expand(passes, -1, -1))
    assert torch.equal(got.single_logits, rows[n:])
    assert torch.equal(got.first_logits, rows)
    extras = wants.extra_inputs(pixels, None).flatten(1)
    assert torch.equal(got.extra_logits, extras[: len(extras) // passes * passes])
    assert torch.equal(got.all_logits, got.of_all(rows))
    assert got.of_all(labels).bincount(minlength=3).sum() == len(got.all_logits)


@given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 3), st.lists(st.integers(0, 3), max_size=3))
def test_the_passes_of_an_image_are_in_different_groups(passes, repeated, single, extra):
    layout = Layout(passes, repeated, single * passes, tuple(length * passes for length in extra))
    images = torch.arange(repeated + single * passes)
    extras = [100 * kind + torch.arange(length) for kind, length in enumerate(layout.extra, 1)]
    batch = layout.gather(images, extras)
    assert len(batch) == layout.rows
    for group in batch.chunk(passes) if len(batch) else ():
        assert group[:repeated].tolist() == list(range(repeated))
        assert len(group.unique()) == len(group)
        for kind, length in enumerate(extra, 1):
            assert (group // 100 == kind).sum() == length
    assert batch.unique().numel() == len(images) + sum(layout.extra)
    if len(batch):
        of_repeated, of_single, of_extras = layout.split(batch)
        assert torch.equal(of_repeated, images[:repeated].expand(passes, -1))
        assert torch.equal(of_single, images[repeated:])
        assert all(torch.equal(ours, kind) for ours, kind in zip(of_extras, extras, strict=True))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_dropconnect_mask_is_another_one_in_each_pass(share):
    outputs = []
    model = network("dropconnect", p=0.5)
    model[2].register_forward_hook(lambda module, inputs, output: outputs.append(output[0].detach()))
    model.train()
    pixels, labels = images(1)
    set_generator(model, *[torch.Generator().manual_seed(0)] * 2)
    same = pixels.expand(6, -1, -1, -1)
    got = forward_batch(model, same, labels.expand(6), Wants(2, share, 0.4), seed=0, step=0)
    repeated, single, extra = got.layout.split(outputs[0])
    assert len(single) + len(extra) > 0
    assert (repeated[0] == repeated[0, 0]).all()
    assert (repeated[1] == repeated[1, 0]).all()
    assert not torch.equal(repeated[0], repeated[1])


def buffers(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def masked(kind):
    """A network on which dropout or dropconnect was put, whose masks are kept until a reset."""
    model = mlp()
    make_stochastic(model, kind, p=0.5)
    return model


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_each_pass_has_a_mask_of_its_own_where_dropconnect_has_one_weight_in_a_run(share):
    wants = Wants(2, share, 0.5)
    model = masked("dropconnect")
    got, pixels, _ = forward(model, wants)
    assert not torch.allclose(got.mc_logits[0], got.mc_logits[1])
    rows = got.layout.gather(pixels, [pixels[: got.layout.extra[0]] / 2])
    twin, expected = masked("dropconnect"), []
    generator = torch.Generator().manual_seed(0)
    with global_seed(derive_seed(0, "layers of others", 0), rows.device):
        for half in rows.chunk(2):  # a plain loop over the passes
            set_generator(twin, generator)
            expected.append(twin(half))
    for ours, theirs in zip(got.layout.split(torch.cat(expected)), (got.mc_logits, got.single_logits), strict=False):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "build",
    [
        lambda: network("dropout", p=0.5),
        lambda: network("dropconnect"),
        mlp,
        lambda: network("plif"),
        lambda: masked("dropout"),
        lambda: masked("dropconnect"),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 4), peer("snntorch hidden", 0.5)[0]),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 4), peer("spikingjelly single", 0.5)[0]),
    ],
)
def test_again_has_the_same_masks_and_leaves_no_trace(build):
    model = build()
    got, _, _ = forward(model, Wants(2, 0.5, 0.5))
    states = [source.get_state() for module in model.modules() for source in getattr(module, "generators", ())]
    rest(model)  # of the state nothing is promised
    before, around = buffers(model), torch.get_rng_state()
    assert torch.equal(got.again(), got.mc_logits)
    assert torch.equal(got.again(), got.mc_logits)
    after = [source.get_state() for module in model.modules() for source in getattr(module, "generators", ())]
    assert all(map(torch.equal, states, after))
    assert torch.equal(torch.get_rng_state(), around)
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    other, _, _ = forward(model, Wants(2, 0.5, 0.5), step=1)
    assert not torch.equal(other.mc_logits, got.mc_logits)


def test_gradients_flow_through_both_runs():
    model = mlp()
    got, _, _ = forward(model, Wants(2))
    weight = model[-1].weight
    (one,) = torch.autograd.grad(got.mc_logits.square().sum(), weight, retain_graph=True)
    (both,) = torch.autograd.grad(got.mc_logits.square().sum() + got.again().square().sum(), weight)
    torch.testing.assert_close(both, 2 * one)


def test_the_watch_is_around_the_first_run_alone():
    events = []

    class Watching(Wants):
        def watch(self, model):
            events.append("watch")
            return Noted(events)

    model = mlp()
    model.register_forward_hook(lambda *_: events.append("run"))
    got, _, _ = forward(model, Watching(2))
    got.again()
    assert events == ["watch", "enter", "run", "exit", "run"]
    assert got.seen == "seen"


def test_a_loop_of_ones_own_needs_two_lines():
    model, wants = network(p=0.5), Wants(2, 0.5)
    got, _, labels = forward(model, wants)
    loss = functional.cross_entropy(got.all_logits, got.of_all(labels)) + 0.5 * wants.term(got)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_model_that_gives_other_rows_is_refused():
    class Half(nn.Module):
        def forward(self, inputs):
            return inputs.flatten(1)[::2]

    with pytest.raises(InputError, match=r"model: expected outputs of shape \[T, 12, C\] or \[12, C\]"):
        forward(Half(), Wants(2))
