"""The command ``tsnn-uq``."""

from tsnn_uq.cli.main import main

__all__ = ["main"]
