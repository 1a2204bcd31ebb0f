"""What tests need of a checkout beside the package; where tests lie elsewhere, those that need it are skipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

__all__ = ["need_folder", "python_examples"]


def need_folder(name: str) -> Path:
    """Return a folder of the checkout; where there is none, skip the test, or the module if it is being imported."""
    folder = Path(__file__).parents[2] / name
    if not folder.exists():
        pytest.skip(f"needs a checkout: {name}/ is not beside tests/", allow_module_level=True)
    return folder


def python_examples(text: str) -> list[str]:
    """The Python examples of a page, in order."""
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
