"""Detection of out-of-distribution inputs from the features of any network."""

from tsnn_uq.detection.detection_table import detection_table
from tsnn_uq.detection.detectors import (
    DETECTORS,
    Detector,
    Mahalanobis,
    NearestNeighbours,
    SpikeCountPatterns,
    VirtualLogit,
)
from tsnn_uq.detection.features import Features, hidden_features
from tsnn_uq.detection.odin import odin_score

__all__ = [
    "DETECTORS",
    "Detector",
    "Features",
    "Mahalanobis",
    "NearestNeighbours",
    "SpikeCountPatterns",
    "VirtualLogit",
    "detection_table",
    "hidden_features",
    "odin_score",
]
