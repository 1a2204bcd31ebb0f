"""Uncertainty analysis for ternary-quantized spiking neural networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsnn_uq import missing_packages as missing_packages  # which explains what is not installed

if TYPE_CHECKING:
    from torch import nn

__all__ = ["__version__", "load_pretrained"]

__version__ = "0.2.0"


def load_pretrained(name: str, device: str = "cpu") -> nn.Module:
    """A trained network that comes with the project, in evaluation mode.

    It is looked for in the folder that the environment variable TSNN_UQ_NETWORKS names, else in ``paper/networks`` of
    the checkout that this code is in; its files are verified.

    Args:
        name: such as ``"cifar10-vgg-direct"``; an unknown one is answered with all that there are.
        device: where to put the network.

    Raises:
        InputError: an unknown name or device, or a file that is missing or is not the shipped one.
    """
    from tsnn_uq.experiments import load_network  # not above, so that importing the package loads no torch
    from tsnn_uq.experiments.storage import pretrained_folder

    return load_network(pretrained_folder(name), device)
