"""Machine code on disk is that of the sources; what it is made from is found out and not listed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tsnn_uq
from tsnn_uq.fast import jit

FOLDER = Path(tsnn_uq.__file__).parent / "fast"
MODULE = """
from tsnn_uq.fast import jit
import sys
jit.SOURCES += sys.argv[1]

@jit.kernel
def double(x):
    return 2 * x

assert double(3) == 6
print(sum(double.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_machine_code_is_found_again_for_the_same_sources_alone(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(MODULE)
    variables = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def hits(change: str) -> int:
        call = [sys.executable, str(script), change]
        return int(subprocess.run(call, env=variables, capture_output=True, text=True, check=True).stdout)

    assert [hits(change) for change in ("", "changed", "")] == [0, 0, 1]


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("simd.py", True),
        ("jit.py", True),
        ("engine/gather.py", True),
        ("engine/sums.py", True),
        ("synapses/lookup_tables.py", True),
        ("scans/srm.py", True),
        ("engine/translate.py", False),
        ("threads.py", False),
    ],
)
def test_sources_are_all_files_in_which_something_is_compiled(changed, stale, tmp_path):
    copied = shutil.copytree(FOLDER, tmp_path / "fast", ignore=shutil.ignore_patterns("__pycache__"))
    assert jit.digest(copied) == jit.SOURCES
    with (copied / changed).open("a") as file:
        file.write("# another")
    assert (jit.digest(copied) != jit.SOURCES) == stale
