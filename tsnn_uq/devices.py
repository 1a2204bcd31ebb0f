"""Devices of networks, by their names in torch, and numbers of threads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tsnn_uq.checks import InputError

__all__ = ["AUTO", "check_device", "devices_here", "find_device", "require_float64", "use_threads", "widest_float"]

AUTO = "auto"
NAMES = re.compile(r"(cpu|mps|cuda(:\d+)?)")
WITHOUT_FLOAT64 = ("mps",)


def devices_here() -> list[str]:
    """Names of the devices of this machine, with the CPU last.

    Example:
        >>> devices_here()[-1]
        'cpu'
    """
    found = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def check_device(name: str) -> str:
    """The full name of a device, such as ``"cpu"``, ``"cuda:1"`` or ``"mps"``, which need not exist on this machine.

    ``"cuda"`` becomes ``"cuda:0"``, and ``"auto"`` becomes the first of `devices_here`.

    Raises:
        InputError: the name is not that of a device.

    Example:
        >>> check_device("cuda")
        'cuda:0'
    """
    if name == AUTO:
        return devices_here()[0]
    if name not in devices_here() and not NAMES.fullmatch(name):
        raise InputError(f"device: expected cpu, cuda, cuda:N, mps or {AUTO}; got {name!r}")
    return "cuda:0" if name == "cuda" else name


def find_device(name: str) -> torch.device:
    """The device with a name that `check_device` accepts.

    Raises:
        InputError: the name is not that of a device, or this machine does not have it.
    """
    wanted, here = check_device(name), devices_here()
    if wanted not in here:
        raise InputError(f"device: expected one of {', '.join(here)} (those of this machine); got {name!r}")
    return torch.device(wanted)


def widest_float(device: torch.device) -> torch.dtype:
    """The dtype for long sums: float64, or float32 on a device that does not have it."""
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64


def require_float64(argument: str, device: torch.device) -> None:
    """Raise `InputError` if a device does not have float64."""
    if device.type in WITHOUT_FLOAT64:
        raise InputError(f"{argument}: expected a device that has float64, such as the cpu; got {device}")


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Context in which torch uses `count` threads; the number is restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
