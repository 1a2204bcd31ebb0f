"""Checks a GPU: the same numbers as on the processor, and how long both take.

`python -m tests.gpu` prints a line for each comparison with what runs on the processor, and writes all of them to
`--out`. It fails if one disagrees. Dropout masks come from the device's own generator, so networks are trained without
dropout where weights are compared, and Monte Carlo predictions are compared by their moments.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from tests.neurons.test_scans import assert_twins, case, every_neuron
from tsnn_uq import networks, training
from tsnn_uq.checks import InputError
from tsnn_uq.coding import pack_spikes
from tsnn_uq.devices import AUTO, find_device
from tsnn_uq.files import write_text
from tsnn_uq.training import Direct, Distill, FitSettings, Float, Indirect, Method
from tsnn_uq.uncertainty import mc_moments, mc_predict

CPU = torch.device("cpu")
INPUTS, BATCH, SAMPLES = 512, 128, 16
STEPS = 50  # of recordings
SMALL = {"plif": {"hidden": (16, 16, 64)}}  # where float64 is compared
GAIN = {"plif": 9}  # of initial weights, for spikes in all layers
FAMILIES = ("dropout", "dropconnect", "plif", "slayer")
METHODS: dict[str, Callable[[nn.Module], Method]] = {
    "float": lambda teacher: Float(),
    "direct": lambda teacher: Direct(),
    "indirect": lambda teacher: Indirect(),
    "distill": Distill,
}


class Row(NamedTuple):
    """A comparison: the largest difference that was found, or the seconds that both devices took."""

    check: str
    network: str
    difference: float = math.nan
    allowed: float = math.nan
    cpu_seconds: float = math.nan
    gpu_seconds: float = math.nan

    @property
    def passed(self) -> bool:
        """Whether the difference is one of rounding or of chance."""
        return math.isnan(self.allowed) or self.difference <= self.allowed


def make(family: str, p: float = 0.0, dtype: torch.dtype = torch.float64, **options: Any) -> nn.Module:
    """A network of a family with weights from a fixed seed, all layers of which spike."""
    options |= {"steps": STEPS} if family == "slayer" else {}
    network = networks.build(family, generator=torch.Generator().manual_seed(0), p=p, **options)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                layer.weight *= GAIN.get(family, 3)
    return network.to(dtype)


def images(family: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Images, or recordings, whose brighter half tells their class."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(10, (INPUTS,), generator=generator)
    if family == "slayer":
        rates = 0.02 + 0.1 * (labels[:, None, None] == torch.arange(2 * 34 * 34) % 10)
        return pack_spikes(torch.rand(INPUTS, STEPS, 2 * 34 * 34, generator=generator) < rates), labels
    pixels = torch.rand(INPUTS, 1, 28, 28, generator=generator, dtype=dtype)
    return pixels * (0.3 + 0.7 * (labels[:, None, None, None] == torch.arange(28) % 10)), labels


def moved(network: nn.Module, data: tuple[Tensor, Tensor], device: torch.device) -> tuple[nn.Module, Tensor, Tensor]:
    """A copy of a network, and data, on a device."""
    return copy.deepcopy(network).to(device), data[0].to(device), data[1].to(device)


def seconds(call: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """The least time of some calls, after one that warms up."""
    taken = []
    for _ in range(repeats + 1):
        _wait(device)
        started = time.perf_counter()
        call()
        _wait(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def scans(device: torch.device) -> Iterator[Row]:
    """The compiled scan of LIF neurons against the plain one, for all neurons, and how much faster it is."""
    if device.type != "cuda":
        return
    from tsnn_uq.fast.scans import lif_triton
    from tsnn_uq.neurons import lif_reference

    for params in every_neuron:
        name = f"{params.reset} reset, {'detached' if params.detach_reset else 'attached'}, {params.surrogate.name}"
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            for shape in ((1, 3), (7, 3, 5), *([(4, 128, 500)] if dtype == torch.float64 else [])):
                current, grad = (tensor.to(device) for tensor in case(shape, dtype))
                assert_twins(lif_triton, current, grad, params, tolerance)
        yield Row("scan equals the plain one", name, 0.0, 0.0)
    for steps in (4, 100):
        current, grad = (tensor.to(device) for tensor in case((steps, 256, 2000), torch.float32))

        def run(scan: object, current: Tensor = current, grad: Tensor = grad, steps: int = steps) -> None:
            charged, _ = scan.forward(current, steps, every_neuron[0])  # type: ignore[attr-defined]
            scan.backward(charged, grad, every_neuron[0], False)  # type: ignore[attr-defined]

        plainly, compiled = (seconds(lambda scan=scan: run(scan), device) for scan in (lif_reference, lif_triton))
        print(f"  scan of {steps} steps on the GPU: plain {plainly:.2e} s, compiled {compiled:.2e} s", flush=True)


@torch.no_grad()
def outputs(device: torch.device) -> Iterator[Row]:
    """Outputs of each family, in float64."""
    for family in FAMILIES:
        here, there = (
            network.eval()(inputs).cpu()
            for network, inputs, _ in both(make(family, **SMALL.get(family, {})), images(family), device)
        )
        yield Row("outputs", family, (here - there).abs().max().item(), 1e-6)


def both(
    network: nn.Module, data: tuple[Tensor, Tensor], device: torch.device
) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
    """The same network and data on the processor, then on the device."""
    for one in (CPU, device):
        yield moved(network, data, one)


def trained(device: torch.device) -> Iterator[Row]:
    """Weights after `fit` with every method, in float64, and whether a second training gives the same bits."""
    settings = FitSettings(epochs=2, batch_size=BATCH)
    for family, methods in {"dropout": METHODS, "plif": ("direct",), "slayer": ("direct",)}.items():
        for method in methods:
            states = []
            for one in (CPU, device, device):
                network, inputs, labels = moved(make(family, **SMALL.get(family, {})), images(family), one)
                teacher = METHODS[method](copy.deepcopy(network))
                training.fit(network, (inputs, labels), seed=0, method=teacher, settings=settings)
                states.append({name: value.double().cpu() for name, value in network.state_dict().items()})
            far = [max((states[0][name] - state[name]).abs().max().item() for name in state) for state in states[1:]]
            yield Row(f"weights after fit, {method}", family, far[0], 1e-6)
            again = max((states[1][name] - states[2][name]).abs().max().item() for name in states[1])
            yield Row(f"the same fit again on the GPU, {method}", family, again)


def predicted(device: torch.device) -> Iterator[Row]:
    """Monte Carlo predictions: moments by chance alone apart, the same seed the same bits."""
    for family in ("dropout", "dropconnect", "plif"):
        found = []
        for network, inputs, _ in both(make(family, 0.3, **SMALL.get(family, {})), images(family), device):
            draws = [
                mc_predict(network, inputs, samples=64, generator=torch.Generator().manual_seed(0)) for _ in range(2)
            ]
            if inputs.device != CPU:
                yield Row("two predictions of one seed", family, (draws[0] - draws[1]).abs().max().item(), 0.0)
            moments = mc_moments(network, inputs, samples=64, generator=torch.Generator().manual_seed(0))
            far = (moments.mean - draws[0].mean(0)).abs().max().item()
            yield Row(f"moments and samples, {inputs.device.type}", family, far, 1e-9)
            found.append(draws[0].double().cpu())
        spread = ((found[0].var(0) + found[1].var(0)) / 64).mean().sqrt().item()
        apart = (found[0].mean(0) - found[1].mean(0)).square().mean().sqrt().item()
        yield Row("mean of 64 samples", family, apart, 1.3 * spread + 1e-12)


def timings(device: torch.device) -> Iterator[Row]:
    """An epoch of `fit` and a Monte Carlo prediction, in float32."""
    settings = FitSettings(epochs=1, batch_size=BATCH)
    for family in FAMILIES:
        epochs, predictions = [], []
        for network, inputs, labels in both(make(family, 0.2, torch.float32), images(family, torch.float32), device):
            fit = partial(training.fit, network, (inputs, labels), seed=0, settings=settings)
            epochs.append(seconds(fit, inputs.device))
            generator = torch.Generator().manual_seed(0)
            predict = partial(mc_predict, network, inputs, samples=SAMPLES, generator=generator)
            predictions.append(seconds(predict, inputs.device))
        for what, taken in ((f"fit, {INPUTS} inputs", epochs), (f"{SAMPLES} samples of {INPUTS} inputs", predictions)):
            yield Row(what, family, cpu_seconds=taken[0], gpu_seconds=taken[1])


def main() -> None:
    """Run all checks, print and write them, and fail if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default=AUTO, help="cuda, cuda:1 or mps (default: the first that is there)")
    parser.add_argument("--out", type=Path, default=Path("gpu.csv"), help="CSV file to write (default: gpu.csv)")
    given = parser.parse_args()
    try:
        device = find_device(given.device)
        if device == CPU:
            raise InputError("device: expected a GPU; got the processor, the only device of this machine")
    except InputError as error:
        sys.exit(f"error: {error}")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads of the processor", flush=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows = []
    for check in (scans, outputs, trained, predicted, timings):
        for row in check(device):
            rows.append(row)
            print("  ".join(f"{value:.3g}" if isinstance(value, float) else value for value in row), flush=True)
    write_text(given.out, pd.DataFrame([row._asdict() for row in rows]).to_csv(index=False, float_format="%.3g"))
    failed = [row for row in rows if not row.passed]
    sys.exit(f"{len(failed)} of {len(rows)} checks failed: {failed}" if failed else 0)


if __name__ == "__main__":
    main()
