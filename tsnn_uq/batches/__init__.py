"""Inputs and labels in batches: from tensors, from a Dataset or from a DataLoader of torch.

Everything that runs a network over data accepts all three; `open_data` opens them:

- **tensors**: inputs alone or (inputs, labels), also as a ``TensorDataset`` or a ``Subset`` of one.
- a map-style **Dataset**, whose items are an input or (input, label). The global generators of torch, NumPy and Python
  are seeded for each batch, so random items do not depend on the number of workers.
- a **DataLoader**, with its own order, batches, workers and pinned memory.
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
