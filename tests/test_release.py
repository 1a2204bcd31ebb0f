"""What is built for a release."""

from __future__ import annotations

import shutil
import subprocess
import sys
from zipfile import ZipFile

import pytest

from tests.helpers.checkout import need_folder
from tsnn_uq import __version__


@pytest.mark.slow
def test_the_wheel_is_the_package_and_nothing_else(tmp_path):
    root = need_folder("pyproject.toml").parent
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "tsnn_uq", tmp_path / "tsnn_uq", ignore=shutil.ignore_patterns("__pycache__"))
    package = {file.relative_to(tmp_path).as_posix() for file in (tmp_path / "tsnn_uq").rglob("*") if file.is_file()}
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-W", "ignore", "-c", build], cwd=tmp_path, capture_output=True, check=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name == f"tsnn_uq-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 1_000_000
    about = f"tsnn_uq-{__version__}.dist-info/"
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert b"tsnn-uq = tsnn_uq.__main__:main" in archive.read(f"{about}entry_points.txt")
    assert {name for name in names if not name.startswith(about)} == package
    assert {"tsnn_uq/py.typed", f"{about}licenses/LICENSE"} <= names


def test_the_package_runs_as_the_command():
    command = [sys.executable, "-m", "tsnn_uq", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{__version__}\n"
