"""Everything runs where the network is, on a device that refuses what an accelerator refuses, with the same values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.virtual_device import VIRTUAL, virtual_device
from tsnn_uq import bayes, devices, networks, recalibration, training, uncertainty
from tsnn_uq.checks import InputError
from tsnn_uq.coding import pack_spikes
from tsnn_uq.cost import count_layers
from tsnn_uq.engine import Engine
from tsnn_uq.fast import compilers
from tsnn_uq.quantization import freeze, ternarize
from tsnn_uq.seeds import generator_for, generator_on

OPTIONS = {
    "dropout": {"sizes": (16, 6, 5, 3)},
    "dropconnect": {"sizes": (16, 6, 5, 3)},
    "plif": {"shape": (1, 4, 4), "classes": 3, "hidden": (2, 2, 4)},
    "slayer": {"shape": (1, 4, 4), "classes": 3, "hidden": (5,), "steps": 6},
}
SETTINGS = training.FitSettings(epochs=2, batch_size=3)


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """No compiled kernels, which only the processor has: what is left computes the same bits everywhere."""
    monkeypatch.setattr(compilers, "is_installed", lambda _: False)


def make(family, device, **options):
    generator = torch.Generator().manual_seed(0)
    return networks.build(family, generator=generator, **OPTIONS[family], **options).to(device)


def inputs_of(family, device):
    generator = torch.Generator().manual_seed(1)
    if family == "slayer":
        images = pack_spikes(torch.rand(5, 6, 16, generator=generator) < 0.4)
    else:
        images = 2 * torch.rand(5, 1, 4, 4, generator=generator)
    return images.to(device), torch.tensor([0, 1, 2, 0, 1]).to(device)


def on_both(compute):
    """What `compute`, called with a device, gives on the processor and on the virtual device, brought back."""
    with virtual_device() as device:
        found = compute(device)
        for tensor in found.values():
            assert tensor.device == device
        there = {name: tensor.cpu() for name, tensor in found.items()}
    return compute(torch.device("cpu")), there


def check(compute):
    here, there = on_both(compute)
    assert here.keys() == there.keys()
    for name, tensor in here.items():
        assert torch.equal(tensor, there[name]), name
    return here


def method_of(name, device, family):
    if name == "distill":
        return training.Distill(make(family, device))
    return {"float": training.Float, "direct": training.Direct, "indirect": training.Indirect}[name]()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "method"),
    [
        *(("dropout", method) for method in ("float", "direct", "indirect", "distill")),
        *(("dropconnect", "direct"), ("plif", "distill"), ("slayer", "indirect")),
    ],
)
def test_training_and_prediction(family, method):
    def compute(device):
        network, data = make(family, device), inputs_of(family, device)
        training.fit(
            network, data, seed=0, method=method_of(method, device, family), settings=SETTINGS, validation=data
        )
        probs = uncertainty.mc_predict(network, data[0], samples=3, generator=generator_for(0, "masks"))
        moments = uncertainty.mc_moments(network, data[0], samples=3, generator=generator_for(0, "masks"))
        assert len(count_layers(network, data[0][:1])) > 1
        return {**network.state_dict(), "probs": probs, "mean": moments.mean, "variance": moments.variance}

    check(compute)


@pytest.fixture
def without_float64(monkeypatch):
    """As Apple's devices are."""
    monkeypatch.setattr(devices, "WITHOUT_FLOAT64", ("meta",))
    with virtual_device(float64=False) as device:
        yield device


@pytest.mark.parametrize("family", OPTIONS)
def test_nothing_needs_float64(family, without_float64):
    device = without_float64
    network, data = make(family, device), inputs_of(family, device)
    training.fit(network, data, seed=0, method=training.Direct(), settings=SETTINGS, validation=data)
    moments = uncertainty.mc_moments(network, data[0], samples=4, generator=generator_for(0, "x"), tolerance=0.1)
    probs = uncertainty.mc_predict(network, data[0], samples=4, generator=generator_for(0, "x"))
    torch.testing.assert_close(moments.mean.cpu(), probs.cpu().mean(0))
    torch.testing.assert_close(moments.variance.cpu(), probs.cpu().var(0, correction=0))
    assert moments.mean.dtype is torch.float32


def test_what_does_need_float64_says_so(without_float64):
    network, data = make("dropout", without_float64), inputs_of("dropout", without_float64)
    for make_one in (lambda: Engine(network), lambda: bayes.LastLayerLaplace(network, data)):
        with pytest.raises(InputError, match="network: expected a device that has float64"):
            make_one()


@pytest.mark.parametrize("name", [name for name in training.REGULARIZERS if name != "none"])
@pytest.mark.parametrize("float64", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_uncertainty_terms(name, float64, monkeypatch):
    if not float64:
        monkeypatch.setattr(devices, "WITHOUT_FLOAT64", ("meta",))

    def compute(device):
        network = make("dropout", device)
        settings = training.FitSettings(epochs=1, batch_size=3, regularizer_weight=1.0)
        options = {"method": training.Direct(), "regularizer": training.make_regularizer(name), "settings": settings}
        training.fit(network, inputs_of("dropout", device), seed=0, **options)
        return network.state_dict()

    if float64:
        check(compute)
    else:
        with virtual_device(float64=False) as device:
            compute(device)


def test_a_training_goes_on_from_its_checkpoint(tmp_path):
    def compute(device, folder):
        def stop(done, _):
            if done == 3:
                raise KeyboardInterrupt

        network = make("dropout", device)
        options = {"seed": 0, "settings": SETTINGS, "checkpoint": folder / "file", "checkpoint_seconds": 0}
        with pytest.raises(KeyboardInterrupt):
            training.fit(network, inputs_of("dropout", device), progress=stop, **options)
        network = make("dropout", device)
        training.fit(network, inputs_of("dropout", device), **options)
        return network.state_dict()

    def uninterrupted(device):
        network = make("dropout", device)
        training.fit(network, inputs_of("dropout", device), seed=0, settings=SETTINGS)
        return network.state_dict()

    ends = on_both(lambda device: compute(device, tmp_path / device.type)), on_both(uninterrupted)
    for resumed, whole in zip(*ends, strict=True):
        assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.parametrize("mask", ["fixed", "per-step"])
@pytest.mark.parametrize("kind", ["dropout", "dropconnect"])
def test_what_is_made_random(kind, mask):
    def compute(device):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3)).to(device)
        uncertainty.make_stochastic(network, kind, p=0.3)
        options = {} if kind == "dropconnect" else {"mask": mask}
        images = inputs_of("dropout", device)[0]
        return {"probs": uncertainty.mc_predict(network, images, samples=3, generator=generator_for(0, "x"), **options)}

    check(compute)


@pytest.mark.parametrize("coding", ["constant", "rate", "latency"])
def test_codings(coding):
    def compute(device):
        network = make("dropout", device, coding=coding)
        images = inputs_of("dropout", device)[0] / 2
        return {"probs": uncertainty.mc_predict(network, images, samples=2, generator=generator_for(0, "x"))}

    check(compute)


@pytest.mark.parametrize("family", ["dropout", "dropconnect", "plif"])
def test_the_ternary_engine(family):
    def compute(device):
        network = make(family, device)
        ternarize(network)
        freeze(network)
        images = inputs_of(family, device)[0]
        engine = Engine(network, images.shape[1:])
        probs = engine.mc_predict(images, samples=2, generator=generator_for(0, "x"))
        return {"logits": engine.logits(images), "probs": probs}

    check(compute)


POSTERIORS = {
    "ternary": lambda network: bayes.ternary_posterior(network),
    "gaussian": lambda network: bayes.gaussian_posterior(network),
    "dropconnect": lambda network: bayes.dropconnect_posterior(network, p=0.2),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", POSTERIORS)
def test_variational_posteriors(kind, tmp_path):
    def compute(device):
        posterior = POSTERIORS[kind](make("dropout", device, p=0.0))
        data = inputs_of("dropout", device)
        bayes.infer(posterior, data, seed=0, settings=training.FitSettings(epochs=1, batch_size=3, weight_decay=0.0))
        path = tmp_path / f"{device.type}-{kind}"
        bayes.save_posterior(path, posterior)
        bayes.load_posterior(path, make("dropout", device, p=0.0))
        drawn = posterior.sample(generator_for(0, "draws", device=device))
        probs = posterior.predict(data[0], samples=2, generator=generator_for(0, "draws", device=device))
        return {**drawn.state_dict(), "probs": probs}

    check(compute)


def test_other_posteriors():
    def compute(device):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3)).to(device)
        data = inputs_of("dropout", device)
        generator = generator_for(0, "draws", device=device)
        collect = bayes.CollectSwag(training.Float(), start=0.0)
        training.fit(network, data, seed=0, method=collect, settings=training.FitSettings(epochs=3, batch_size=3))
        found = {"swag": collect.swag.predict(data[0], samples=2, generator=generator)}
        found["laplace"] = bayes.LastLayerLaplace(network, data).predict(data[0], samples=2, generator=generator)
        found["ensemble"] = bayes.Ensemble([network] * 2).predict(data[0], samples=2, generator=generator)
        return found

    check(compute)


def test_a_generator_elsewhere_gives_a_posterior_its_seed():
    with virtual_device() as device:
        for make_posterior in POSTERIORS.values():
            posterior = make_posterior(make("dropout", device, p=0.0))
            first, again, other = (posterior.sample(generator_for(seed, "draws")) for seed in (0, 0, 1))
            weights = [next(iter(network.state_dict().values())).cpu() for network in (first, again, other)]
            assert torch.equal(weights[0], weights[1])
            assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", ["TemperatureScaling", "VectorScaling", "DirichletScaling", "HistogramBinning"])
def test_recalibration(name):
    def compute(device):
        generator = torch.Generator().manual_seed(0)
        probs = torch.rand(20, 3, generator=generator).softmax(-1).to(device)
        labels = torch.randint(3, (20,), generator=generator).to(device)
        return {"probs": getattr(recalibration, name)().fit(probs, labels).transform(probs)}

    check(compute)


def test_the_virtual_device_refuses_what_an_accelerator_refuses():
    here = torch.ones(3)
    with virtual_device() as device:
        there, generator = torch.ones(3, device=device), torch.Generator(device=device).manual_seed(0)
        for mistake in (
            lambda: there + here,
            lambda: nn.Linear(3, 2).to(device)(here),
            lambda: there.numpy(),
            lambda: torch.rand(3, generator=generator),
            lambda: torch.rand(3, device=device, generator=torch.Generator()),
            lambda: there.uniform_(generator=torch.Generator()),
        ):
            with pytest.raises((RuntimeError, TypeError)):
                mistake()
        assert (there + 1).tolist() == [2.0, 2.0, 2.0]
        assert torch.rand(3, device=device, generator=generator).device == VIRTUAL
        assert generator_on(device, generator) is generator


def test_devices_by_their_names(monkeypatch):
    monkeypatch.setattr(devices, "devices_here", lambda: ["cuda:0", "cuda:1", "cpu"])
    assert [devices.check_device(name) for name in ("cpu", "cuda", "cuda:3", "mps", "auto")] == [
        *("cpu", "cuda:0", "cuda:3", "mps", "cuda:0")
    ]
    assert [str(devices.find_device(name)) for name in ("cpu", "cuda", "cuda:1", "auto")] == [
        *("cpu", "cuda:0", "cuda:1", "cuda:0")
    ]
    for name in ("gpu", "cuda:", "cuda:-1", "cpu:0", "", "CUDA"):
        with pytest.raises(InputError, match="device: expected cpu, cuda, cuda:N, mps or auto"):
            devices.check_device(name)
    for name in ("cuda:2", "mps"):
        with pytest.raises(InputError, match="device: expected one of cuda:0, cuda:1"):
            devices.find_device(name)


def test_devices_of_this_machine():
    assert devices.devices_here()[-1] == "cpu"
    assert devices.find_device("auto") == devices.find_device(devices.devices_here()[0])
