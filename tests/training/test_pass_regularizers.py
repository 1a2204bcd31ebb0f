"""Regularizers that logits and labels are not enough for: quantization gap, potentials, rates, outliers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.helpers.training import EAGER, images, mlp, network
from tsnn_uq.checks import InputError
from tsnn_uq.data.affine_maps import warped
from tsnn_uq.data.synthetic_outliers import outliers
from tsnn_uq.metrics.functional import predictive_variance
from tsnn_uq.neurons import LIFParameters, watch_potentials
from tsnn_uq.neurons.potentials import WatchedNeuron
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.seeds import generator_for
from tsnn_uq.training import (
    ConsistencyRegularizer,
    Direct,
    FitSettings,
    Indirect,
    InformationRegularizer,
    MembraneRegularizer,
    OutlierExposure,
    QuantizationGapRegularizer,
    RateRegularizer,
    VarianceRegularizer,
    WeightedSum,
    fit,
    forward_batch,
    make_regularizer,
)
from tsnn_uq.training.regularizers import divergence_from_uniform, quantization_gap, spike_variance
from tsnn_uq.uncertainty import make_stochastic, set_generator


def one_forward(model, regularizer, data=None, step=0):
    set_generator(model, *[torch.Generator().manual_seed(step)] * regularizer.passes)
    return forward_batch(model.train(), *(data or images()), regularizer, seed=0, step=step)


def double(generator, passes=2):
    return torch.randn(passes, 5, 4, dtype=torch.float64, generator=generator).requires_grad_()


# The quantization gap.


def test_the_gap_is_a_divergence_of_means_and_a_distance_of_variances(generator):
    ternary, full = double(generator), double(generator)
    p, q = (logits.detach().softmax(-1) for logits in (full, ternary))
    expected = 0.0
    for n in range(5):
        for a, b in zip(p[:, n].mean(0).tolist(), q[:, n].mean(0).tolist(), strict=True):
            expected += a * math.log(a / b) / 5
        variances = [predictive_variance(probs[:, n : n + 1], unbiased=True).item() for probs in (p, q)]
        expected += 0.7 * abs(variances[0] - variances[1]) / 5
    assert quantization_gap(ternary, full, variance=0.7).item() == pytest.approx(expected, abs=1e-12)
    assert quantization_gap(full, full).item() == pytest.approx(0, abs=1e-12)
    assert torch.autograd.gradcheck(quantization_gap, (ternary, full))
    assert torch.autograd.gradcheck(lambda *both: quantization_gap(*both, variance=0), (double(generator, 1),) * 2)


def test_the_gap_is_that_of_the_same_network_before_it_was_ternary():
    """The float copy under the same masks: what the network gave before, from the same state of the generator."""
    regularizer, model = QuantizationGapRegularizer(share=0.5), network(p=0.3)
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 4  # many spikes
    before = one_forward(model, regularizer).mc_logits
    ternarize(model)
    forward = one_forward(model, regularizer)
    value = regularizer.term(forward)
    torch.testing.assert_close(value, quantization_gap(forward.mc_logits, before))
    assert value > 0.01
    value.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    freeze(model)
    torch.testing.assert_close(one_forward(model, regularizer).mc_logits, forward.mc_logits)


def test_a_network_trained_with_the_gap_loses_less_by_quantization():
    def gap_after(weight):
        model, data, gaps = network(p=0.3), images(), []

        class Measured(Direct):
            def finish(self, model):
                for step in range(20):
                    gaps.append(regularizer.term(one_forward(model, regularizer, data, step)).item())

        regularizer = QuantizationGapRegularizer(share=1.0)
        settings = FitSettings(epochs=30, batch_size=16, learning_rate=0.05, regularizer_weight=weight)
        fit(model, data, seed=0, method=Measured(), regularizer=regularizer if weight else None, settings=settings)
        return sum(gaps)

    assert gap_after(3.0) < 0.7 * gap_after(0.0)


def test_without_a_float_copy_there_is_no_gap():
    match = "model: expected ternary layers with float copies"
    settings = FitSettings(epochs=1, regularizer_weight=1.0)
    with pytest.raises(InputError, match=match):
        fit(network(), images(), seed=0, method=Indirect(), regularizer=QuantizationGapRegularizer(), settings=settings)
    with pytest.raises(InputError, match=r"full: expected logits \[M, N, C\]"):
        quantization_gap(torch.zeros(2, 5, 4), torch.zeros(2, 3, 4))


# Membrane potentials.


@pytest.mark.parametrize("width", [0.1, 1.0])
def test_the_variance_of_a_spike_is_that_of_its_probability(width, generator):
    distance = torch.randn(50, dtype=torch.float64, generator=generator).requires_grad_()
    q = [1 / (1 + math.exp(-x / width)) for x in distance.tolist()]
    expected = torch.tensor([4 * p * (1 - p) for p in q], dtype=torch.float64)
    torch.testing.assert_close(spike_variance(distance, width), expected)
    assert torch.autograd.gradcheck(lambda x: spike_variance(x, width), distance)


def test_the_term_of_potentials_is_the_same_where_each_pass_is_a_run():
    """As with dropconnect of `make_stochastic`; here with masks that drop next to nothing, for want of the others."""
    plain, runs = (network(p=0.0, neuron=EAGER) for _ in range(2))
    make_stochastic(runs, "dropconnect", p=1e-9)
    both = WeightedSum([(1.0, MembraneRegularizer()), (1.0, VarianceRegularizer(share=0.5))])
    folded, apart = (both.term(one_forward(model, both)) for model in (plain, runs))
    assert folded > 0
    torch.testing.assert_close(apart, folded, rtol=1e-4, atol=1e-5)


def of_layer_and_input(distance):
    """Half the mean over what fires and half that over what does not, of distances [T, ...] from the threshold."""
    groups = [distance[distance >= 0], distance[distance < 0]]
    return sum(spike_variance(group, 0.3).mean() / 2 for group in groups if len(group))


@pytest.mark.parametrize("family", ["dropout", "plif", "slayer"])
def test_the_membrane_term_is_the_mean_over_layers(family):
    model, regularizer = network(family, p=0.0), MembraneRegularizer(0.3)
    forward = one_forward(model, regularizer)
    seen = []
    with watch_potentials(model, seen.append):
        model(forward.images)
    means = [of_layer_and_input(distance[:, n]) for distance in seen for n in range(16)]
    torch.testing.assert_close(regularizer.term(forward), sum(means) / len(means))
    regularizer.term(forward).backward()
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    assert weights[0].grad.abs().sum() > 0


def test_training_with_it_drives_potentials_away_from_the_threshold():
    def after(weight):
        model, regularizer = network(p=0.0), MembraneRegularizer(0.3)
        settings = FitSettings(epochs=30, batch_size=16, learning_rate=0.02, regularizer_weight=weight)
        fit(model, images(), seed=0, regularizer=regularizer if weight else None, settings=settings)
        return regularizer.term(one_forward(model, regularizer)).item()

    assert after(3.0) < 0.5 * after(0.0)


def test_a_network_without_our_neurons_has_no_potentials():
    with pytest.raises(InputError, match="model: expected LIF, PLIF or SRM neurons"):
        one_forward(mlp(), MembraneRegularizer())
    with pytest.raises(InputError, match="width: expected a positive number"):
        MembraneRegularizer(0)


# Rates.


@pytest.mark.parametrize("family", ["dropout", "plif", "slayer", "vgg"])
@pytest.mark.parametrize("target", [0.0, 0.02])
def test_the_rate_is_what_neurons_spike_above_the_target(family, target):
    model, regularizer = network(family, p=0.0), RateRegularizer(target)
    seen = []
    for layer in model.modules():
        if isinstance(layer, WatchedNeuron):
            layer.register_forward_hook(lambda module, inputs, spikes: seen.append(spikes))
    forward = one_forward(model, regularizer)
    excess = [max(0.0, spikes[:, n].mean().item() - target) for spikes in seen for n in range(16)]
    assert sum(excess) > 0
    assert regularizer.term(forward).item() == pytest.approx(sum(excess) / len(excess), rel=1e-5)
    regularizer.term(forward).backward()
    assert next(parameter for parameter in model.parameters() if parameter.dim() > 1).grad.abs().sum() > 0


def test_inputs_of_other_terms_are_not_counted_and_nothing_is_left_behind():
    model = network(p=0.0)
    both = WeightedSum([(1.0, RateRegularizer()), (1.0, OutlierExposure(0.5))])
    alone = RateRegularizer().term(one_forward(model, RateRegularizer()))
    forward = one_forward(model, both)
    torch.testing.assert_close(both.term(forward) - divergence_from_uniform(forward.extra_logits), alone)
    assert not any(layer._forward_hooks for layer in model.modules())


def test_training_with_it_makes_spikes_rarer():
    def after(weight):
        model = network(p=0.0)
        settings = FitSettings(epochs=20, batch_size=16, learning_rate=0.02, regularizer_weight=weight)
        fit(model, images(), seed=0, regularizer=RateRegularizer() if weight else None, settings=settings)
        return RateRegularizer().term(one_forward(model, RateRegularizer())).item()

    assert after(3.0) < 0.5 * after(0.0)


def test_a_network_without_our_neurons_has_no_rate():
    with pytest.raises(InputError, match="model: expected LIF, PLIF or SRM neurons"):
        one_forward(mlp(), RateRegularizer())
    with pytest.raises(InputError, match="target: expected"):
        RateRegularizer(-0.1)


# Outliers.


def test_the_divergence_from_uniform_is_written_out(generator):
    logits = double(generator)[0]
    probs = logits.detach().softmax(-1)
    expected = sum(0.25 * math.log(0.25 / p) for p in probs.flatten().tolist()) / 5
    assert divergence_from_uniform(logits).item() == pytest.approx(expected, abs=1e-12)
    assert divergence_from_uniform(torch.full((3, 7), 2.0)).item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.gradcheck(divergence_from_uniform, logits)


def test_outliers_go_through_the_network_beside_the_images():
    model, regularizer = network(p=0.0), OutlierExposure(0.5)
    forward = one_forward(model, regularizer, step=3)
    made = outliers(forward.images[:8], generator_for(0, "extra inputs", 3))
    torch.testing.assert_close(forward.extra_logits, model(made).mean(0))
    torch.testing.assert_close(forward.first_logits, model(forward.images).mean(0))
    torch.testing.assert_close(regularizer.term(forward), divergence_from_uniform(forward.extra_logits))
    other = one_forward(model, regularizer, step=4)
    assert not torch.equal(other.extra_logits, forward.extra_logits)


def test_a_batch_too_small_for_outliers_has_none():
    class Two(OutlierExposure):
        passes = 2

    regularizer = Two()
    forward = one_forward(network(), regularizer, images(1))
    assert len(forward.extra_logits) == 0
    assert regularizer.term(forward).item() == 0


def test_a_network_exposed_to_outliers_is_unsure_of_others():
    labels = torch.arange(60) % 3
    pixels = 0.1 * torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    pixels[torch.arange(60), 0, labels] += 0.9  # class k has row k lit
    unseen = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(1))

    def after(weight):
        model = network(p=0.0)
        settings = FitSettings(epochs=20, batch_size=20, learning_rate=0.02, regularizer_weight=weight)
        fit(model, (pixels, labels), seed=0, regularizer=OutlierExposure() if weight else None, settings=settings)
        predicted = model(pixels).mean(0).argmax(-1)
        return divergence_from_uniform(model(unseen).mean(0)).item(), (predicted == labels).double().mean().item()

    (plain, _), (exposed, accuracy) = after(0.0), after(0.5)
    assert exposed < 0.5 * plain
    assert accuracy == 1


def test_events_have_no_outliers():
    class Reads(nn.Module):
        def forward(self, packed):
            return packed.flatten(1)[:, :3].float().requires_grad_()

    events = torch.zeros(8, 6, 2, dtype=torch.uint8), torch.zeros(8, dtype=torch.long)
    with pytest.raises(InputError, match="images: expected floating-point images"):
        one_forward(Reads(), OutlierExposure(), events)


# Consistency.


def lively(family="dropout", p=0.3):
    """A network that spikes before it was trained."""
    return network(family, sizes=(16, 32, 3), neuron=LIFParameters(threshold=0.2), p=p)


@pytest.mark.parametrize("fidelity", [0.0, 0.1, 2.0])
def test_consistency_is_how_far_passes_over_warped_images_are_apart_and_from_the_image(fidelity):
    model, regularizer = lively(), ConsistencyRegularizer(3, fidelity, extra_share=0.5)
    forward = one_forward(model, regularizer, step=3)
    assert forward.layout.extra == (3 * 8,)
    assert forward.layout.repeated < 3  # no image needs more than one pass
    logits = forward.extra_logits.unflatten(0, (3, -1))
    assert (logits[0] - logits[1]).abs().max() > 0.01
    expected = InformationRegularizer(3)(logits, None).item()
    for given, passes in zip(forward.first_logits[:8].softmax(-1), logits.softmax(-1).transpose(0, 1), strict=True):
        for probs in passes.tolist():
            terms = [p * math.log(p / q) for p, q in zip(given.tolist(), probs, strict=True)]
            expected += fidelity * sum(terms) / (3 * 8)
    assert regularizer.term(forward).item() == pytest.approx(expected, rel=1e-5)


def test_the_warped_images_are_the_batchs_own_once_a_pass():
    regularizer = ConsistencyRegularizer(passes=3, extra_share=0.5)
    forward = one_forward(lively(p=0.0), regularizer, step=3)
    made = warped(forward.images[:8], generator_for(0, "extra inputs", 3))
    expected = lively(p=0.0)(made).mean(0)
    torch.testing.assert_close(forward.extra_logits, torch.cat([expected] * 3))


def test_what_the_image_itself_gives_is_not_drawn_towards_the_warped():
    forward = one_forward(lively(), ConsistencyRegularizer(fidelity=2.0))
    (gradient,) = torch.autograd.grad(
        ConsistencyRegularizer(fidelity=2.0).term(forward), forward.single_logits, allow_unused=True
    )
    assert gradient is None


@pytest.mark.parametrize("passes", [2, 3])
def test_parts_of_a_sum_have_inputs_of_their_own(passes):
    parts = OutlierExposure(0.5), VarianceRegularizer(passes), ConsistencyRegularizer(fidelity=0.0)
    both = WeightedSum([(weight, part) for weight, part in zip((0.5, 5.0, 2.0), parts, strict=True)])
    assert both.extra_share == 0.75
    forward = one_forward(lively(), both, step=3)
    outside, warps = forward.extras
    assert (len(outside), len(warps)) == (8 // passes * passes, 4 * passes)
    expected = 0.5 * divergence_from_uniform(outside) + 5 * parts[1](forward.mc_logits, None)
    expected += 2 * InformationRegularizer(passes)(warps.unflatten(0, (passes, -1)), None)
    torch.testing.assert_close(both.term(forward), expected)


def test_consistency_of_weights_is_that_of_two_draws_of_them():
    """A dropconnect mask is shared by all inputs of a group, so copies of an image have to be in several groups."""
    forward = one_forward(lively("dropconnect", 0.5), ConsistencyRegularizer(extra_share=1.0))
    one, other = forward.extra_logits.unflatten(0, (2, -1))
    assert ((one - other).abs().amax(1) > 1e-4).all()


# More passes.


@pytest.mark.parametrize("family", ["dropout", "dropconnect"])
@pytest.mark.parametrize("passes", [2, 4])
def test_a_text_gives_all_its_terms_more_passes(family, passes):
    regularizer = make_regularizer(f"consistency:1+information:3+passes:{passes}")
    assert (regularizer.passes, regularizer.share) == (passes, 0.25)
    forward = one_forward(network(family, p=0.5, neuron=EAGER), regularizer)

    def information(logits):
        probs = logits.detach().double().softmax(-1)
        entropies = [-(part * part.log()).sum(-1).mean() for part in (probs.mean(0), *probs)]
        return float(entropies[0] - sum(entropies[1:]) / passes)

    assert len(forward.mc_logits) == passes
    assert len({tuple(one.flatten().tolist()) for one in forward.mc_logits}) == passes  # each with masks of its own
    warped_logits = forward.extra_logits.unflatten(0, (passes, -1))
    given = forward.first_logits[: warped_logits.shape[1]].detach().double().softmax(-1)
    others = warped_logits.detach().double().log_softmax(-1)
    divergence = float((given * (given.log() - others)).sum(-1).mean())
    wanted = information(warped_logits) + 0.03 * divergence + 3 * information(forward.mc_logits)
    assert regularizer.term(forward).item() == pytest.approx(wanted, rel=1e-5)


def test_passes_alone_cost_no_other_images_anything():
    few, more = (make_regularizer(f"consistency:1{text}") for text in ("", "+passes:4"))
    assert (more.passes, more.share, more.extra_share) == (4, few.share, few.extra_share)
