"""Exchange networks with other libraries through the Neuromorphic Intermediate Representation (NIR)."""

from tsnn_uq.exchange.export import to_nir
from tsnn_uq.exchange.load import coding_of, from_nir
from tsnn_uq.exchange.nir_file import read_nir, write_nir

__all__ = ["coding_of", "from_nir", "read_nir", "to_nir", "write_nir"]
