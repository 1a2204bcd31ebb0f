"""The command ``tsnn-uq``."""

from tsnn_uq.cli.ablation import ablation
from tsnn_uq.cli.export import export
from tsnn_uq.cli.main import main
from tsnn_uq.cli.posterior import posterior
from tsnn_uq.cli.report import report
from tsnn_uq.cli.reproduce import reproduce

__all__ = ["ablation", "export", "main", "posterior", "report", "reproduce"]
