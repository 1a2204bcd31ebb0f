"""The metrics in an environment that has torch, torchmetrics and what these need, and no other package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tsnn_uq
from tests.helpers.checkout import need_folder, python_examples

pytestmark = pytest.mark.slow

NEEDS = {
    "import tsnn_uq.stopping": "scipy",
    "import tsnn_uq.components": "pydantic",
    "import tsnn_uq.experiments": "pydantic",
    "import tsnn_uq.cli": "typer",
    "from tsnn_uq.bayes import infer, ternary_posterior; infer(ternary_posterior(layer), batch, seed=0)": "pyro-ppl",
    "import tsnn_uq.data; tsnn_uq.data.load('digits')": "scikit-learn",
    "from tsnn_uq.results.tables import read_table; read_table('table.csv')": "pandas",
    "from tsnn_uq.results.figures import save_figure; save_figure(None, 'figure')": "matplotlib",
    "from tsnn_uq.exchange import read_nir; read_nir('network.nir')": "'tsnn-uq[nir]'",
    "from tsnn_uq.training import TensorBoardLog; TensorBoardLog('log')": "'tsnn-uq[tensorboard]'",
}
"""What is tried, and what has to be installed for it."""


def needed_by(*names):
    """Distributions of some names, and of all that they require."""
    found, waiting = {}, list(names)
    while waiting:
        if (name := waiting.pop()) not in found:
            found[name] = distribution(name)
            requirements = map(Requirement, found[name].requires or [])
            waiting += [one.name for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found.values()


@pytest.fixture(scope="module")
def run_alone(tmp_path_factory):
    """Runs Python where links to those packages and to ours are all that can be imported."""
    folder = tmp_path_factory.mktemp("packages")
    packages = needed_by("torch", "torchmetrics")
    links = {file.parts[0]: one.locate_file(file.parts[0]) for one in packages for file in one.files or ()}
    for name in links.keys() - {"..", "__pycache__"}:  # commands and loose modules' bytecode
        (folder / name).symlink_to(links[name])
    (folder / "tsnn_uq").symlink_to(Path(tsnn_uq.__file__).parent)

    def run(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        command = [sys.executable, "-S", "-W", "ignore", *arguments]
        return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)

    return run


def test_the_metrics_need_torch_and_torchmetrics_alone_and_the_rest_says_what_to_install(run_alone):
    door = python_examples((need_folder("pyproject.toml").parent / "README.md").read_text(encoding="utf-8"))[0]
    assert "tsnn_uq.metrics" in door
    code = f"""
{door}
print(metrics.over_time(metrics.accuracy, probs[:, None], labels).shape)
import json
from tsnn_uq.fast.compilers import is_installed
layer, batch = torch.nn.Linear(4, 2), (torch.rand(8, 4), torch.zeros(8).long())
found = {{}}
for statement in {list(NEEDS)}:
    try:
        exec(statement)
    except ValueError as error:  # of which InputError is one
        found[statement] = str(error), isinstance(error, ImportError)
print(json.dumps(found))
assert not is_installed("numba")  # asking is no error
try:
    import pandas  # nor is it ours what others import
except ModuleNotFoundError as error:
    print(error)
"""
    done = run_alone("-c", code)
    assert done.returncode == 0, done.stderr
    *measured, found, others = done.stdout.splitlines()
    assert len(measured) == 4
    assert others == "No module named 'pandas'"
    for statement, (message, is_import_error) in json.loads(found).items():
        assert "\n" not in message
        assert "expected the package" in message, statement
        assert message.endswith(f"(pip install {NEEDS[statement]})"), statement
        assert is_import_error
    assert list(json.loads(found)) == list(NEEDS)


def test_the_command_without_its_packages_is_one_line(run_alone):
    done = run_alone("-m", "tsnn_uq", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("tsnn-uq: ")
    assert line.endswith("(pip install typer)")
