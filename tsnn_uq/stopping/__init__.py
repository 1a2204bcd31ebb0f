"""Early stopping over time with statistical guarantees, from predictions alone."""

from tsnn_uq.stopping.base import Stopped, StoppingRule, Stream
from tsnn_uq.stopping.conformal_stopping import ConformalStopping
from tsnn_uq.stopping.risk_control import RiskControlledExit
from tsnn_uq.stopping.risks import p_values
from tsnn_uq.stopping.summary import StoppingPoints, StoppingSummary, stopping_summary

__all__ = [
    "ConformalStopping",
    "RiskControlledExit",
    "Stopped",
    "StoppingPoints",
    "StoppingRule",
    "StoppingSummary",
    "Stream",
    "p_values",
    "stopping_summary",
]
