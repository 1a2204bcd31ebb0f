"""Figures 1 and 2: diagrams of the methods, with histograms of the weights of our networks.

Boxes and arrows are placed in inches on axes as wide as a page. `weight_histograms.py` writes the table of histograms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from pandas import DataFrame
from torch import nn

from tsnn_uq.results.figures.style import METHOD_COLORS, PAGE_WIDTH, style
from tsnn_uq.training import Distill, Indirect

__all__ = ["LAYER", "draw_methods", "draw_workflow"]

LAYER = 2  # the layer whose weights are drawn
FREE, FIXED = "#56B4E9", "#D55E00"  # Okabe and Ito's sky blue and vermilion; the fixed ones are hatched as well


def draw_workflow(weights: DataFrame) -> Figure:
    """Figure 1: the indirect method with a teacher, from float weights to a ternary network.

    Args:
        weights: columns ``network``, ``layer``, ``low``, ``high``, ``free``, ``fixed``; see `weight_histograms.py`.
    """
    with style():
        figure, axes = _sheet(3.0)
        _box(axes, 0.05, 1.75, 1.65, 1.2, "Float teacher")
        _histogram(axes, (0.25, 1.93, 1.25, 0.72), weights, "float")
        _box(axes, 2.3, 2.1, 2.85, 0.85, "Loss of the student")
        _text(axes, 3.725, 2.56, r"$(1-\lambda)\,$cross-entropy$\;+\;\lambda\,\tau^2\,\mathrm{KL}$", 7.5)
        _text(axes, 3.725, 2.28, r"KL: from the teacher's softened predictions", 7)
        _arrow(axes, (1.7, 2.52), (2.3, 2.52), "logits")
        _box(axes, 0.05, 0.05, 1.65, 1.2, "1  Train in float")
        _text(axes, 0.875, 0.55, "from the teacher's\nweights, all free", 7)
        _arrow(axes, (0.875, 1.75), (0.875, 1.25))
        _text(axes, 0.93, 1.5, "weights", 7, ha="left")
        _box(axes, 2.05, 0.05, 1.65, 1.2, "2  Fix the most certain")
        _histogram(axes, (2.25, 0.23, 1.25, 0.72), weights, "first share fixed")
        _box(axes, 4.05, 0.05, 1.1, 1.2, "3  Train on")
        _text(axes, 4.6, 0.5, "free weights\ncompensate; fixed\nkeep codes,\nscale follows", 7)
        _box(axes, 5.4, 0.05, 1.55, 1.2, "4  Ternary student")
        _histogram(axes, (5.55, 0.23, 1.25, 0.72), weights, "distill")
        for start, end in ((1.7, 2.05), (3.7, 4.05), (5.15, 5.4)):
            _arrow(axes, (start, 0.62), (end, 0.62))
        _arrow(axes, (4.6, 2.1), (4.6, 1.25))
        _text(axes, 4.66, 1.9, "gradients", 7, ha="left")
        _arrow(axes, (4.35, 1.25), (2.9, 1.25), curve=0.28)
        _text(axes, 3.45, 1.62, "again, until all are fixed", 7)
        _legend(axes, 5.6, 2.6)
    return figure


def draw_methods(weights: DataFrame) -> Figure:
    """Figure 2: (a) the direct method, (b) the indirect one with its schedule.

    Args:
        weights: as for `draw_workflow`.
    """
    with style():
        figure, axes = _sheet(3.7)
        _draw_direct(axes, weights)
        _draw_indirect(axes, weights)
    return figure


def _draw_direct(axes: Axes, weights: DataFrame) -> None:
    _text(axes, 0.05, 3.6, "(a) Direct", 8, ha="left", weight="bold")
    _box(axes, 0.05, 2.2, 1.4, 1.1, "Float copy $w$")
    _text(axes, 0.75, 2.68, "kept while training,\nupdated by the\noptimizer", 7)
    _box(axes, 2.0, 2.2, 2.0, 1.1, r"Ternary weights $s\,c$")
    if _has(weights, "direct"):
        _histogram(axes, (2.2, 2.36, 1.6, 0.66), weights, "direct")
    else:
        _text(axes, 3.0, 2.68, r"$c\in\{-1,\,0,\,+1\}$", 8)
    _box(axes, 4.5, 2.2, 1.1, 1.1, "Spiking network")
    _text(axes, 5.05, 2.68, "forward pass\nwith ternary\nweights only", 7)
    _box(axes, 6.05, 2.2, 0.9, 1.1, "Loss")
    _text(axes, 6.5, 2.68, "cross-\nentropy", 7)
    for start, end in ((1.45, 2.0), (4.0, 4.5), (5.6, 6.05)):
        _arrow(axes, (start, 2.9), (end, 2.9))
    for start, end in ((2.0, 1.45), (4.5, 4.0), (6.05, 5.6)):
        _arrow(axes, (start, 2.45), (end, 2.45), dashed=True)
    _text(axes, 1.725, 3.1, "threshold\nof $|w|$", 7, va="bottom")
    _text(axes, 3.5, 2.05, "dashed: gradients, passed straight through the threshold to the float copy", 7)


def _draw_indirect(axes: Axes, weights: DataFrame) -> None:
    _text(axes, 0.05, 1.8, "(b) Indirect", 8, ha="left", weight="bold")
    stairs = axes.inset_axes((0.5, 0.42, 2.6, 1.16), transform=axes.transData)
    schedules = ((Indirect(), "indirect"), (Distill(nn.Identity()), "distill"))  # only their schedules are read
    for method, name in schedules:
        progress = [0, *(moment for moment in method.moments for _ in (0, 1)), 1]
        shares = [0, 0, *(share for share in method.shares for _ in (0, 1))]
        look = {"indirect": "-.", "distill": ":"}[name]
        label = {"indirect": "without teacher", "distill": "with teacher"}[name]
        stairs.plot(progress, shares, color=METHOD_COLORS[name], linestyle=look, linewidth=1.4, label=label)
    stairs.set(xlabel="Share of the training", ylabel="Weights fixed", xlim=(0, 1.0), ylim=(0, 1.05))
    stairs.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"], yticklabels=["0", "0.5", "1"])
    stairs.legend(loc="upper left", handlelength=2.6)
    names = ("float", "first share fixed", "indirect" if _has(weights, "indirect") else "distill")
    titles = ("all free", "first share fixed", "all fixed" if _has(weights, "indirect") else "all fixed (distill)")
    for place, (name, title) in enumerate(zip(names, titles, strict=True)):
        left = 3.35 + 1.22 * place
        _text(axes, left + 0.56, 1.5, title, 7)
        _histogram(axes, (left, 0.62, 1.12, 0.75), weights, name)
        if place:
            _arrow(axes, (left - 0.1, 1.0), (left + 0.02, 1.0))
    _legend(axes, 3.5, 0.12, beside=True)


def _sheet(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(PAGE_WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, PAGE_WIDTH), ylim=(0, height))
    axes.set_axis_off()
    return figure, axes


def _box(axes: Axes, left: float, bottom: float, width: float, height: float, title: str) -> None:
    shape = FancyBboxPatch(
        (left, bottom), width, height, boxstyle="round,pad=0,rounding_size=0.06", facecolor="white", linewidth=0.8
    )
    axes.add_patch(shape)
    _text(axes, left + width / 2, bottom + height - 0.12, title, 8, weight="bold")


def _text(axes: Axes, x: float, y: float, text: str, size: float, **options: Any) -> None:
    axes.text(x, y, text, fontsize=size, **{"ha": "center", "va": "center", "linespacing": 1.15, **options})


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    label: str = "",
    *,
    dashed: bool = False,
    curve: float = 0.0,
) -> None:
    look = {
        "arrowstyle": "-|>,head_width=0.18,head_length=0.35",
        "linewidth": 0.9,
        "linestyle": (0, (3, 2)) if dashed else "-",
        "color": "0.3",
        "shrinkA": 1,
        "shrinkB": 1,
        "connectionstyle": f"arc3,rad={curve}",
    }
    axes.annotate("", end, start, arrowprops=look)
    if label:
        _text(axes, (start[0] + end[0]) / 2, start[1] + 0.1, label, 7)


def _has(weights: DataFrame, network: str) -> bool:
    return bool((weights["network"] == network).any())


def _histogram(axes: Axes, place: tuple[float, float, float, float], weights: DataFrame, network: str) -> None:
    """Counts on a square-root scale, so that free weights are visible beside the many that are exactly zero."""
    rows = weights[(weights["network"] == network) & (weights["layer"] == LAYER)]
    inner = axes.inset_axes(place, transform=axes.transData)
    inner.set_facecolor("none")
    inner.spines["left"].set_visible(False)
    span = rows["high"].max()
    inner.set(xlim=(-span, span), ylim=(0, 1.05 * np.sqrt(rows[["free", "fixed"]].to_numpy().max())))
    inner.set(yticks=[], xticks=[0], xticklabels=["0"])
    inner.tick_params(axis="x", length=2, pad=1, labelsize=7)
    width = 2 * span / len(rows)
    inner.stairs(np.sqrt(rows["free"]), [*rows["low"], span], fill=True, color=FREE, linewidth=0)
    fixed = rows[rows["fixed"] > 0]
    inner.bar(fixed["low"] - width / 2, np.sqrt(fixed["fixed"]), 2 * width, align="edge", color=FIXED, hatch="////")


def _legend(axes: Axes, left: float, bottom: float, beside: bool = False) -> None:
    step = (1.3, 0.0) if beside else (0.0, -0.2)
    for place, (color, hatch, text) in enumerate(((FREE, "", "free weights"), (FIXED, "////", "fixed weights"))):
        x, y = left + place * step[0], bottom + place * step[1]
        patch = FancyBboxPatch((x, y), 0.16, 0.1, boxstyle="square,pad=0", facecolor=color, linewidth=0, hatch=hatch)
        axes.add_patch(patch)
        _text(axes, x + 0.24, y + 0.05, text, 7, ha="left")
    note = "counts, root scale"
    x, y = (left + 2.6, bottom + 0.05) if beside else (left, bottom - 0.33)
    _text(axes, x, y, note, 7, ha="left")
