from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tests.helpers.training import TINY, images, method, mlp, network, same
from tsnn_uq.checks import InputError
from tsnn_uq.networks import FAMILIES
from tsnn_uq.quantization import PARTS, SCALES, freeze, select_layers, ternarize
from tsnn_uq.readout import logits
from tsnn_uq.training import METHODS, Direct, Distill, FitSettings, Float, Indirect, fit
from tsnn_uq.training.losses import distillation

SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
TERNARY = [name for name in METHODS if name != "float"]
NETWORKS = {**{family: lambda family=family: network(family) for family in FAMILIES}, "convolutional": mlp}


def is_ternary(weight, scale="layer"):
    groups = weight.flatten(1) if scale == "channel" else weight.reshape(1, -1)
    magnitudes = [set(group[group != 0].abs().tolist()) for group in groups]
    return all(len(values) <= 1 and (scale != "none" or values <= {1.0}) for values in magnitudes)


# Every pair of a family, a method, a part and a scale, and not each with all others.
COMBINATIONS = [
    (kind, name, part, SCALES[(i + j + k) % len(SCALES)])
    for i, kind in enumerate(NETWORKS)
    for j, name in enumerate(TERNARY)
    for k, part in enumerate(PARTS)
]


@pytest.mark.parametrize(("kind", "name", "part", "scale"), COMBINATIONS)
def test_every_family_method_and_part_trains_two_steps(kind, name, part, scale):
    model = NETWORKS[kind]()
    before = copy.deepcopy(model)
    way = method(name, layers=part, scale=scale)
    two_steps = FitSettings(epochs=1, batch_size=8)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    convolutions = any(isinstance(layer, nn.Conv2d) for layer in layers)
    if not {"conv": convolutions, "inner": len(layers) > 2}.get(part, True):
        with pytest.raises(InputError, match="layers: expected a choice that matches a layer"):
            fit(model, images(), seed=0, method=way, settings=two_steps)
        return
    fit(model, images(), seed=0, method=way, settings=two_steps)
    assert model.state_dict().keys() == before.state_dict().keys()
    chosen = {f"{layer}.weight" for layer in select_layers(before, part)}
    for key, old in before.named_parameters():
        new = model.get_parameter(key)
        assert isinstance(new, nn.Parameter)
        assert new.shape == old.shape
        assert not torch.equal(new, old) or key == "0.bias"
        if key in chosen:
            assert is_ternary(new, scale)
        elif new.dim() > 1:
            assert not is_ternary(new, "channel")


@pytest.mark.parametrize("kind", NETWORKS)
def test_float_training_leaves_weights_that_are_not_ternary(kind):
    model = NETWORKS[kind]()
    fit(model, images(), seed=0, method=Float(), settings=TINY)
    assert not any(is_ternary(layer.weight, "channel") for layer in select_layers(model).values())


def test_cross_entropy_is_the_mean_over_passes_and_inputs():
    mc_logits = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[3.0, -1.0], [5.0, 5.0]], [[0.0, 1.0], [2.0, 0.0]]])
    target = torch.tensor([1, 0])
    values = [
        -math.log(math.exp(row[label]) / sum(map(math.exp, row)))
        for draw in mc_logits.tolist()
        for row, label in zip(draw, target.tolist(), strict=True)
    ]
    loss = Float().loss(mc_logits, target, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(sum(values) / len(values), rel=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_the_gradient_of_direct_is_that_of_the_ternary_network_and_moves_the_float_copy(scale):
    model, pixels = network(p=0.0), images()[0]
    floats = [layer.weight.detach().clone() for layer in select_layers(model).values()]
    Direct(scale=scale).start(model, pixels)
    ternary = network(p=0.0)
    ternarize(ternary, scale=scale)
    freeze(ternary)
    for one in (model, ternary):
        functional.cross_entropy(logits(one(pixels)), images()[1]).backward()
    originals = [layer.parametrizations.weight.original for layer in select_layers(model).values()]
    for original, plain, old in zip(originals, ternary.parameters(), floats, strict=True):
        assert torch.equal(original, old)
        assert torch.equal(original.grad, plain.grad)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    for original, old in zip(originals, floats, strict=True):
        torch.testing.assert_close(original.detach(), old - 0.1 * original.grad)


class Watched(Indirect):
    """Notes what each quantization found and what it made of it."""

    def __init__(self, **options):
        super().__init__(**options)
        self.notes = []

    def _fix(self, name, weight, share):
        found = weight.clone()
        before = self.fixed.get(name, torch.zeros_like(weight, dtype=torch.bool)), self.codes.get(name)
        super()._fix(name, weight, share)
        self.notes.append((found, share, *before, self.fixed[name].clone(), self.codes[name].clone(), weight.clone()))


def check_quantization(weight, share, fixed, codes, now_fixed, now_codes, now_weight, factor):
    """One quantization of a layer with one scale against the words of the docstring."""
    assert int(now_fixed.sum()) == max(1, round(share * weight.numel()))
    assert (now_fixed | ~fixed).all()  # what was fixed stays fixed
    distance = weight.abs() - factor * weight.abs().mean()
    wanted = torch.where(distance > 0, weight.sign(), torch.zeros(()))
    if codes is not None:
        wanted = torch.where(fixed, codes, wanted)
    assert torch.equal(now_codes[now_fixed], wanted[now_fixed])
    assert not now_codes[~now_fixed].any()
    newly, free = distance.abs()[now_fixed & ~fixed], distance.abs()[~now_fixed]
    if len(newly) and len(free):
        assert newly.min() >= free.max()  # the surest come first
    kept = wanted != 0
    scale = (weight * wanted)[kept].double().mean() if kept.any() else torch.zeros(())
    torch.testing.assert_close(now_weight[now_fixed].double(), scale * wanted[now_fixed].double(), rtol=1e-5, atol=1e-7)
    assert torch.equal(now_weight[~now_fixed], weight[~now_fixed])


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("factor", [0.7, 1.1])
def test_each_quantization_does_what_it_says(kind, factor):
    model = NETWORKS[kind]()
    watched = Watched(factor=factor)
    fit(model, images(), seed=0, method=watched, settings=FitSettings(epochs=20, batch_size=16, learning_rate=0.02))
    assert [note[1] for note in watched.notes] == [share for share in SHARES for _ in select_layers(model)]
    for note in watched.notes:
        check_quantization(*note, factor)
    for layer, note in zip(select_layers(model).values(), watched.notes[-len(select_layers(model)) :], strict=True):
        assert torch.equal(layer.weight.sign(), note[5])


def test_the_scale_of_fixed_weights_follows_their_gradients():
    model, way = nn.Linear(6, 4, bias=False), Indirect(shares=(1.0,))
    with torch.no_grad():
        way.after_step(model, 1.0)
        scale, codes = model.weight.abs().max(), model.weight.sign()
        nudge = torch.linspace(-0.01, 0.02, 24).reshape(4, 6)
        model.weight += nudge
        way.after_step(model, 1.0)
    wanted = scale + (nudge * codes).sum() / codes.abs().sum()
    torch.testing.assert_close(model.weight.detach(), wanted * codes)


def test_fixed_weights_keep_code_and_place_while_the_others_train():
    model, codes, before, moved = network(), {}, {}, []

    class Checked(Indirect):
        def after_step(self, model, progress):
            for name, layer in select_layers(model).items():
                if name in self.fixed:
                    free = ~self.fixed[name]
                    moved.append((layer.weight != before[name])[free].float().mean().item() if free.any() else 1.0)
            super().after_step(model, progress)
            for name, layer in select_layers(model).items():
                before[name] = layer.weight.detach().clone()
            for name, fixed in self.fixed.items():
                assert torch.equal(before[name].sign()[fixed], self.codes[name][fixed])
                if name in codes:
                    known, signs = codes[name]
                    assert torch.equal(before[name].sign()[known], signs[known])
                codes[name] = fixed.clone(), before[name].sign()

    fit(model, images(), seed=0, method=Checked(), settings=FitSettings(epochs=40, batch_size=16))
    assert codes
    assert max(moved) > 0.99


@given(st.integers(1, 60), st.sampled_from(SCALES), st.lists(st.integers(1, 99), max_size=4, unique=True))
def test_shares_are_reached_to_one_weight_also_in_tiny_layers(inputs, scale, percents):
    shares = (*(percent / 100 for percent in sorted(percents)), 1.0)
    layer = nn.Linear(inputs, 1, bias=False)
    generator = torch.Generator().manual_seed(inputs)
    way = Indirect(scale=scale, shares=shares)
    model = nn.Sequential(layer)
    way.start(model, torch.zeros(0))
    with torch.no_grad():
        for share, moment in zip(shares, way.moments, strict=True):
            layer.weight.normal_(generator=generator)
            way.after_step(model, moment)
            assert int(way.fixed["0"].sum()) == max(1, round(share * inputs))
    assert is_ternary(layer.weight, scale)


def test_fixed_codes_hold_though_the_others_outgrow_them(generator):
    model = nn.Linear(10, 10)
    way = Watched(shares=(0.5, 0.6, 1.0))
    with torch.no_grad():
        for moment in way.moments:
            way.after_step(model, moment)
            model.weight[~way.fixed[""]] *= 50  # now the threshold is above the scale
    for note in way.notes:
        check_quantization(*note, factor=0.7)


def test_the_moments_are_spread_evenly():
    way = Indirect(start=0.2, end=0.8, shares=(0.5, 0.75, 1.0))
    assert way.moments == pytest.approx((0.2, 0.5, 0.8))
    done, model = [], nn.Linear(10, 10)
    for step in range(1, 11):
        way.after_step(model, step / 10)
        done.append(way.done)
    assert done == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("name", ["indirect", "distill"])
def test_a_training_of_one_step_ends_ternary(name):
    model = network()
    fit(model, images(), seed=0, method=method(name), settings=FitSettings(epochs=1, batch_size=16))
    assert all(is_ternary(layer.weight) for layer in select_layers(model).values())


def test_a_method_can_be_used_again():
    again, fresh, way = network(seed=1), network(seed=1), Indirect()
    fit(network(), images(), seed=0, method=way, settings=TINY)
    fit(again, images(), seed=0, method=way, settings=TINY)
    fit(fresh, images(), seed=0, method=Indirect(), settings=TINY)
    assert same(again, fresh)


def test_distillation_without_weight_is_the_indirect_method_bit_for_bit():
    indirect, distilled, other = network(), network(), network()
    fit(indirect, images(), seed=0, method=Indirect(), settings=TINY)
    fit(distilled, images(), seed=0, method=Distill(network(seed=9), weight=0.0), settings=TINY)
    fit(other, images(), seed=0, method=Distill(network(seed=9), weight=1.0), settings=TINY)
    assert same(indirect, distilled)
    assert not same(indirect, other)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_of_distillation_is_the_mixture_written_out(weight, temperature):
    teacher, pixels = network(seed=9).train(), images()[0]
    before = copy.deepcopy(teacher)
    way = Distill(teacher, temperature=temperature, weight=weight)
    way.start(network(), pixels)
    assert same(teacher, before)
    taught = logits(before.eval()(pixels)).detach()  # without dropout

    indices, target = torch.tensor([3, 0, 7]), torch.tensor([0, 2, 1])
    mc_logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = []
    for draw in mc_logits:
        for row, label, index in zip(draw, target, indices, strict=True):
            hot, wanted = ((one.double() / temperature).softmax(0) for one in (row, taught[index]))
            divergence = (wanted * (wanted / hot).log()).sum()
            values.append((1 - weight) * -row.log_softmax(0)[label] + weight * temperature**2 * divergence)
    loss = way.loss(mc_logits, target, indices)
    assert loss.item() == pytest.approx(sum(values).item() / len(values), rel=1e-6)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Indirect(rule="learned"), "rule: expected one that is not learned"),
        (lambda: Distill(network(), rule="learned"), "rule: expected one that is not learned"),
        (lambda: Indirect(rule="mean"), "rule: expected one of"),
        (lambda: Indirect(scale="chanel"), "scale: expected one of"),
        (lambda: Indirect(sparsity=0.5), "rule: 'mean-fraction' does not take these options: .*'sparsity'"),
        (lambda: Indirect(start=1.5), "start: expected 0 <= value <= 1"),
        (lambda: Indirect(start=0.5, end=0.4), "start: expected at most end, 0.4"),
        (lambda: Indirect(shares=()), "shares: expected growing shares"),
        (lambda: Indirect(shares=(0.5, 0.5, 1.0)), "shares: expected growing shares"),
        (lambda: Indirect(shares=(0.0, 1.0)), "shares: expected growing shares"),
        (lambda: Indirect(shares=(0.5, 0.9)), "shares: expected growing shares"),
        (lambda: Distill(network(), temperature=0), "temperature: expected a positive number"),
        (lambda: Distill(network(), weight=2), "weight: expected 0 <= value <= 1"),
    ],
)
def test_bad_settings_are_refused_when_made(make, match):
    with pytest.raises(InputError, match=match):
        make()


@pytest.mark.parametrize("name", TERNARY)
def test_unknown_layers_are_refused_before_the_first_step(name):
    model = network()
    with pytest.raises(InputError, match="layers: expected names among: 2, 5"):
        fit(model, images(), seed=0, method=method(name, layers=["3"]), settings=TINY)
    assert same(model, network())


@pytest.mark.parametrize("way", [Float(), Distill(network(), weight=0.25)], ids=["float", "distill"])
def test_another_criterion_takes_the_place_of_cross_entropy(way):
    way.criterion = lambda logits, target: logits.square().sum(1).mean()
    way.start(network(), images()[0])
    mc_logits, target, indices = torch.randn(2, 3, 3), torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2])
    loss = way.loss(mc_logits, target, indices)
    expected = mc_logits.square().sum(2).mean()
    if isinstance(way, Distill):
        distance = distillation(mc_logits.flatten(0, 1), way.wanted[indices].repeat(2, 1), way.temperature)
        expected = 0.75 * expected + 0.25 * distance
    torch.testing.assert_close(loss, expected)
