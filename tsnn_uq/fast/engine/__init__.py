"""Ternary inference with integer sums over active inputs."""

from tsnn_uq.fast.engine.engine import BACKENDS, Engine

__all__ = ["BACKENDS", "Engine"]
