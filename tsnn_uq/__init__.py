"""Uncertainty analysis for ternary-quantized spiking neural networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsnn_uq import missing_packages as missing_packages  # which explains what is not installed

if TYPE_CHECKING:
    from torch import nn

__all__ = ["__version__", "load_pretrained"]

__version__ = "0.2.0"


def load_pretrained(name: str, device: str = "cpu") -> nn.Module:
    """Load a trained network that is part of this project, in evaluation mode.

    The network is looked up in the folder given by the environment variable TSNN_UQ_NETWORKS, or by default in
    ``paper/networks`` of this checkout. Its files are verified.

    Args:
        name: such as ``"cifar10-vgg-direct"``; the error for an unknown name lists all.
        device: device of the network.

    Raises:
        InputError: the name or device is unknown, or a file is missing or differs from the shipped one.
    """
    from tsnn_uq.experiments import load_network  # not above, so that importing the package loads no torch
    from tsnn_uq.experiments.storage import pretrained_folder

    return load_network(pretrained_folder(name), device)
