"""What a run is made of, chosen by name: data sets, networks, neurons, methods and regularizers, with their options."""

from tsnn_uq.components import builtin as builtin  # which registers what the package brings
from tsnn_uq.components.options import Checked, Options, Text, Unknown, explain
from tsnn_uq.components.registry import (
    KINDS,
    Component,
    find,
    follow,
    followed,
    is_known,
    is_reference,
    known,
    names_in,
    refollow,
    register,
    typed,
)

__all__ = [
    "KINDS",
    "Checked",
    "Component",
    "Options",
    "Text",
    "Unknown",
    "builtin",
    "explain",
    "find",
    "follow",
    "followed",
    "is_known",
    "is_reference",
    "known",
    "names_in",
    "refollow",
    "register",
    "typed",
]
