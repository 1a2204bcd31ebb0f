"""Data sets: found or fetched, verified, split and shifted."""

from tsnn_uq.data.folder import Located, data_folder, fetch, locate
from tsnn_uq.data.images import Dataset
from tsnn_uq.data.registry import SOURCES, File, Source
from tsnn_uq.data.shifts import SHIFTS, apply_shift, blurred, noisy, parse_shift, rotated
from tsnn_uq.data.splits import Splits, load, load_test

__all__ = [
    "SHIFTS",
    "SOURCES",
    "Dataset",
    "File",
    "Located",
    "Source",
    "Splits",
    "apply_shift",
    "blurred",
    "data_folder",
    "fetch",
    "load",
    "load_test",
    "locate",
    "noisy",
    "parse_shift",
    "rotated",
]
