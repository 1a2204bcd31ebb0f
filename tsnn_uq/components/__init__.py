"""Components of a run, chosen by name: data sets, networks, neurons, methods and regularizers, with their options."""

from tsnn_uq.components import builtin as builtin  # registers the components of this package
from tsnn_uq.components.registry import KINDS, follow, known, register

__all__ = ["KINDS", "follow", "known", "register"]
