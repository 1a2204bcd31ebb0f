"""How the cost grows with time steps, inputs, width and Monte Carlo samples, over two decades each.

The forward passes are ours in float32 with constant current; width is that of the one hidden layer of 784-width-10,
where the work is in proportion to it. Monte Carlo samples are drawn with the trained ternary network by `mc_predict`
and by the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tests.benchmarks.setting import STEPS, Setting
from tests.benchmarks.timer import interleave
from tsnn_uq.engine import Engine
from tsnn_uq.files import write_text
from tsnn_uq.networks import build
from tsnn_uq.uncertainty import mc_predict

__all__ = ["Point", "fitted_slope", "measure_scaling", "write_scaling"]

Call = Callable[[], object]


class Point(NamedTuple):
    """A point of a curve: what grows, who computes, how large it is, and the median seconds."""

    quantity: str
    contender: str
    size: int
    median_seconds: float


def sizes(smallest: int) -> list[int]:
    """Seven sizes over two decades, evenly spaced on a logarithmic axis."""
    return [round(smallest * 10 ** (i / 3)) for i in range(7)]


def curves(setting: Setting) -> dict[tuple[str, str], dict[int, Call]]:
    """Calls by size, for each quantity and contender."""
    images = setting.splits.test.images[:800]
    few = images[:8]
    network = setting.network(steps=8)
    seed = torch.Generator().manual_seed

    def samples(predict: Callable[..., Tensor], model: object, number: int) -> Call:
        return partial(predict, model, few, samples=number, generator=seed(0))

    run = Engine(network)
    return {
        ("time steps T", "forward pass"): {t: forward(setting.network(steps=t), images[:32]) for t in sizes(4)},
        ("inputs N", "forward pass"): {n: forward(setting.network(), images[:n]) for n in sizes(8)},
        ("width", "forward pass"): {w: forward(shallow(w), images[:256]) for w in sizes(16)},
        ("samples S", "mc_predict"): {s: samples(mc_predict, network, s) for s in sizes(4)},
        ("samples S", "engine.mc_predict"): {s: samples(Engine.mc_predict, run, s) for s in sizes(4)},
    }


def shallow(width: int) -> nn.Module:
    """An untrained network with one hidden layer."""
    generator = torch.Generator().manual_seed(0)
    return build("dropout", generator=generator, sizes=(784, width, 10), steps=STEPS).eval()


def forward(network: nn.Module, images: Tensor) -> Call:
    """A forward pass."""

    @torch.no_grad()
    def call() -> Tensor:
        return network(images)

    return call


def measure_scaling(setting: Setting, rounds: int) -> list[Point]:
    """Time all points, those of a curve in turn."""
    points = []
    for (quantity, contender), calls in curves(setting).items():
        seconds = interleave({str(size): call for size, call in calls.items()}, rounds, turn_seconds=0.02)
        curve = [Point(quantity, contender, int(size), float(np.median(taken))) for size, taken in seconds.items()]
        print(f"  {contender:18} against {quantity:14} slope {fitted_slope(curve):.2f}", flush=True)
        points += curve
    return points


def fitted_slope(curve: list[Point]) -> float:
    """Slope of the straight line through the points on logarithmic axes, by least squares; 1 is proportional."""
    size, seconds = (np.log([getattr(point, name) for point in curve]) for name in ("size", "median_seconds"))
    return float(np.polyfit(size, seconds, 1)[0])


def write_scaling(path: Path, points: list[Point]) -> None:
    """Write the points as CSV."""
    table = pd.DataFrame(points, columns=list(Point._fields))
    write_text(path, table.to_csv(index=False, float_format="%.4g"))
