"""Inputs and labels in batches: from tensors, from a Dataset or from a DataLoader of torch.

Whatever runs a network over data takes all three, opened by `open_data`:

- **tensors**: inputs alone or (inputs, labels), also as a ``TensorDataset`` or a ``Subset`` of one.
- a map-style **Dataset**, whose items are an input or (input, label). What they draw from the global generators of
  torch, NumPy and Python comes from a seed for each batch, so it is the same for any number of workers.
- a **DataLoader**, which has its own order, batches, workers and pinned memory.
"""

from tsnn_uq.batches.batch import Batch, cat_labels, device_of
from tsnn_uq.batches.data_sources import Collected, Data, Indexed, Loaded, Repeated, Source, open_data

__all__ = [
    "Batch",
    "Collected",
    "Data",
    "Indexed",
    "Loaded",
    "Repeated",
    "Source",
    "cat_labels",
    "device_of",
    "open_data",
]
