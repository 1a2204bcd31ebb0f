from __future__ import annotations

import pytest

from tsnn_uq.quantization import PARTS
from tsnn_uq.results.paper_table import _part


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_a_name_of_its_own(part):
    wanted = {"conv": "5Conv", "fc": "2FC", "inner": "inner 5Conv+2FC", "all": "5Conv+2FC"}
    assert _part(part, "5Conv+2FC") == wanted[part]
