"""What a run is made of, chosen by name: data sets, networks, neurons, methods and regularizers, with their options."""

from tsnn_uq.components import builtin as builtin  # which registers what the package brings
from tsnn_uq.components.registry import KINDS, follow, known, register

__all__ = ["KINDS", "follow", "known", "register"]
