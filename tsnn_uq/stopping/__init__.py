"""Stop a network over time when it is sure, with a promise about what that costs; knows predictions, not networks."""

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
