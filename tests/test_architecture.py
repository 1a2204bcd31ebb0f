"""Who may import whom, and what stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import tsnn_uq

PACKAGE = Path(tsnn_uq.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
COMPILERS = {"numba", "llvmlite", "triton", "ctypes"}
BELOW_EXPERIMENTS = {
    "batches",
    "bayes",
    "checks",
    "coding",
    "components",
    "cost",
    "data",
    "detection",
    "devices",
    "engine",
    "exchange",
    "fast",
    "fast.engine",
    "fast.synapses",
    "files",
    "constant_input",
    "metrics",
    "networks",
    "neurons",
    "quantization",
    "readout",
    "recalibration",
    "results",
    "results.bayesian_comparison",
    "results.figures",
    "seeds",
    "state",
    "stopping",
    "training",
    "uncertainty",
}
MAY_IMPORT = {
    "batches": {"checks", "constant_input", "seeds"},
    "checks": set(),
    "missing_packages": {"checks"},
    "files": {"checks"},
    "devices": {"checks"},
    "seeds": {"checks"},
    "state": set(),
    # compiled kernels, and what they need of the machine
    "fast": set(),
    "fast.synapses": {"checks", "coding", "fast"},
    "fast.scans": {"fast", "neurons"},
    "fast.engine": {
        "batches",
        "checks",
        "coding",
        "devices",
        "fast",
        "networks",
        "neurons",
        "quantization",
        "readout",
        "seeds",
        "state",
        "stopping",
        "uncertainty",
    },
    "engine": {"fast.engine"},
    "metrics": {"checks", "devices"},
    "recalibration": {"checks"},
    "stopping": {"checks", "metrics"},
    "constant_input": set(),
    "coding": {"checks", "constant_input"},
    "readout": {"checks"},
    "quantization": {"checks", "files"},
    "neurons": {"checks", "devices", "fast", "constant_input"},
    "data": {"checks", "files", "seeds"},
    "detection": {"batches", "checks", "metrics", "readout", "seeds", "state", "uncertainty"},
    # quantization: layers are chosen for dropout as they are for ternary weights
    "uncertainty": {
        "batches",
        "checks",
        "coding",
        "devices",
        "constant_input",
        "quantization",
        "readout",
        "seeds",
        "state",
        "fast.synapses",
    },
    "networks": {"checks", "fast.synapses", "constant_input", "neurons", "uncertainty", "coding", "readout", "seeds"},
    # data: outliers are made of the training images; neurons: a term may look at membrane potentials
    "training": {
        "batches",
        "checks",
        "data",
        "files",
        "constant_input",
        "metrics",
        "missing_packages",
        "neurons",
        "quantization",
        "readout",
        "seeds",
        "state",
        "uncertainty",
    },
    "components": {"checks", "data", "networks", "neurons", "quantization", "training"},
    "exchange": {"checks", "coding", "files", "networks", "neurons", "quantization", "readout", "state", "uncertainty"},
    "cost": {"batches", "checks", "coding", "constant_input", "neurons", "quantization", "state"},
    "bayes": {
        "batches",
        "checks",
        "coding",
        "devices",
        "files",
        "constant_input",
        "quantization",
        "readout",
        "seeds",
        "state",
        "training",
        "uncertainty",
    },
    # results: what is computed and drawn from arrays and tables lies below the experiments, what reads runs above them
    "results": {"checks", "cost", "files", "metrics", "recalibration", "seeds", "training"},
    "results.bayesian_comparison": {"checks", "results", "seeds"},
    "results.figures": {"checks", "files", "metrics", "results"},
    "experiments": BELOW_EXPERIMENTS,
    "results.studies": BELOW_EXPERIMENTS | {"experiments"},
    "results.page": BELOW_EXPERIMENTS | {"experiments", "results.studies"},
    # compare: networks in memory, by what runs and files are compared by
    "compare": BELOW_EXPERIMENTS | {"results.page"},
    "cli": BELOW_EXPERIMENTS | {"experiments", "results.studies", "results.page"},
    "__main__": {"cli", "missing_packages"},
}


def room_of(module):
    """The room of a module such as ``"tsnn_uq.results.page.page_tables"``; some folders are rooms inside another."""
    inner = ".".join(module.split(".")[1:3])
    return inner if inner in MAY_IMPORT else inner.split(".")[0]


def room(file):
    return room_of(".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts))


@cache
def tree(file):
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def imports(file):
    """Full names of what a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def imported_rooms(file):
    return {room_of(name) for name in imports(file) if name.startswith("tsnn_uq.")}


def name_of(file):
    return str(file.relative_to(PACKAGE))


def test_imports_flow_one_way():
    too_many = {}
    for file in FILES:
        allowed = {"experiments", "missing_packages"}  # of the package's face, the first when `load_pretrained` runs
        if file != PACKAGE / "__init__.py":
            allowed = {"__version__", room(file), *MAY_IMPORT[room(file)]}
        too_many[name_of(file)] = imported_rooms(file) - allowed
    assert {name: rooms for name, rooms in too_many.items() if rooms} == {}


def test_compilers_are_used_in_one_room():
    """The event camera is compiled too, but nothing else depends on how."""
    users = {name_of(file) for file in FILES if {name.split(".")[0] for name in imports(file)} & COMPILERS}
    assert {name for name in users if not name.startswith("fast")} <= {"data/event_camera.py"}


def test_every_room_has_its_rule():
    assert {room(file) for file in FILES} - {"__init__"} == set(MAY_IMPORT)


def test_package_faces_are_lists_of_names():
    others = {}
    for file in FILES:
        if file.name == "__init__.py":
            _docstring, *rest = tree(file).body
            usual: tuple[type, ...] = (ast.ImportFrom, ast.Import, ast.Assign)
            if file == PACKAGE / "__init__.py":  # which loads on first use
                usual += (ast.If, ast.FunctionDef)
            others[name_of(file)] = [node.lineno for node in rest if not isinstance(node, usual)]
    assert {name: lines for name, lines in others.items() if lines} == {}


def loaded_after(*modules):
    """For each of some modules, imported one after the other in a fresh interpreter, the libraries loaded by then."""
    report = "print(module, *{name.partition('.')[0] for name in sys.modules})"
    code = (
        f"import importlib, sys, warnings; warnings.simplefilter('ignore')\n"
        f"for module in {modules}: importlib.import_module(module); {report}"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {line.split()[0]: set(line.split()[1:]) for line in output.splitlines()}


def test_heavy_libraries_and_compilers_load_on_first_use():
    """Whoever does not need them waits for neither; torchmetrics brings matplotlib along by itself."""
    heavy = {"pyro", "netcal", "matplotlib", "pandas", "sklearn", "joblib", "typer", "pooch"}
    without_compiler = [f"tsnn_uq{room}" for room in (".metrics", "", ".networks", ".uncertainty", ".engine")]
    others = [f"tsnn_uq.{room}" for room in ("quantization", "training", "bayes")]
    found = loaded_after("torchmetrics", *without_compiler, *others)
    anyway = found.pop("torchmetrics")
    assert list(found) == [*without_compiler, *others]
    for module, libraries in found.items():
        assert not (libraries - anyway) & heavy, module
        assert module in others or not libraries & {"numba", "llvmlite"}, module
    assert not (found["tsnn_uq.metrics"] - anyway) & {"scipy", "gpytorch"}


def test_the_command_answers_for_its_help_without_what_only_runs_need():
    """Importing torch alone takes longer than a user waits for a list of commands."""
    heavy = {"torch", "torchmetrics", "numpy", "pandas", "matplotlib", "pydantic", "joblib", "safetensors"}
    assert not loaded_after("tsnn_uq.cli")["tsnn_uq.cli"] & heavy
