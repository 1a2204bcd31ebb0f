"""Data sets: download, verify, load, split, shift and corrupt."""

from tsnn_uq.data.augmentation import crop_and_flip
from tsnn_uq.data.catalog import Entry, Extent, extent, overview, prepare
from tsnn_uq.data.cifar10h import human_answers
from tsnn_uq.data.corruptions import CORRUPTIONS, DIGIT_CORRUPTIONS, corrupted
from tsnn_uq.data.cross_validation import load_fold
from tsnn_uq.data.download_sources import SOURCES, File, Source
from tsnn_uq.data.events import EventDataset, Events, parse_events, read_events
from tsnn_uq.data.images import Dataset
from tsnn_uq.data.ood_sets import fitted, noise
from tsnn_uq.data.shifts import SHIFTS, apply_shift, blurred, noisy, parse_shift, rotated
from tsnn_uq.data.splits import EVENT_SETS, Splits, is_foreign, is_kindred, load, load_all, load_test, split_shift
from tsnn_uq.data.spoken_digits import SpokenDataset, level_crossings, load_spoken_digits, mel_energies
from tsnn_uq.data.user_data import Inputs, Items, as_splits
from tsnn_uq.data.verified_files import Located, data_folder, fetch, locate

__all__ = [
    "CORRUPTIONS",
    "DIGIT_CORRUPTIONS",
    "EVENT_SETS",
    "SHIFTS",
    "SOURCES",
    "Dataset",
    "Entry",
    "EventDataset",
    "Events",
    "Extent",
    "File",
    "Inputs",
    "Items",
    "Located",
    "Source",
    "Splits",
    "SpokenDataset",
    "apply_shift",
    "as_splits",
    "blurred",
    "corrupted",
    "crop_and_flip",
    "data_folder",
    "extent",
    "fetch",
    "fitted",
    "human_answers",
    "is_foreign",
    "is_kindred",
    "level_crossings",
    "load",
    "load_all",
    "load_fold",
    "load_spoken_digits",
    "load_test",
    "locate",
    "mel_energies",
    "noise",
    "noisy",
    "overview",
    "parse_events",
    "parse_shift",
    "prepare",
    "read_events",
    "rotated",
    "split_shift",
]
