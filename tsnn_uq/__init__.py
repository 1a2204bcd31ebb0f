"""Uncertainty analysis for ternary-quantized spiking neural networks."""

__version__ = "0.1.0"
