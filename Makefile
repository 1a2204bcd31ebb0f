# Each command does its own set-up: a virtual environment with pinned versions. Most of what is installed is never
# imported, so compiling all of it beforehand would be the longer half of the set-up.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = -m pip install --quiet --disable-pip-version-check --no-compile
export OMP_NUM_THREADS ?= 1
# Tests start many processes: without bytecode on disk each of them would compile torch again.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup demo test test-all check quick bench docs figures paper clean
.DEFAULT_GOAL := help

help:           ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10

setup: $(VENV)/ready ## virtual environment with everything in it

# The package alone is all that the demo needs, and a third of what there is to install.
$(VENV)/package: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --constraint constraints.txt --editable .
	@touch $@

$(VENV)/ready: $(VENV)/package peers.txt
	$(BIN)/python $(PIP) --constraint constraints.txt --editable '.[docs,test]'
	$(BIN)/python $(PIP) --no-deps --requirement peers.txt
	@touch $@

demo: $(VENV)/package ## the main job on handwritten digits: table, reliability diagram, entropy histogram in demo/
	$(BIN)/tsnn-uq compare --data digits --seeds 1 --out demo

check: setup    ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In the order of tests/conftest.py, those of one file go to one worker.
SIDE_BY_SIDE = --dist loadgroup --no-loadscope-reorder

test: setup     ## tests, doctests and README examples, all but the slow ones, in six minutes
	$(BIN)/python -m pytest -q -n 2 $(SIDE_BY_SIDE) -m 'not slow' $(PYTEST)

# Slow tests wait a fifth of their time for processes of their own, so three workers keep two processors busy.
test-all: setup ## all tests, with round trips, killed processes, real data, a browser, clusters
	$(BIN)/python -m pytest -q -n 3 $(SIDE_BY_SIDE) $(PYTEST)

# What is computed of arrays and single layers, chosen by the processor seconds that `pytest --cpu` writes: 42 for metrics,
# about 10 each for neurons, quantization, recalibration and uncertainty, 25 for the rest, 15 to import and collect in each
# worker. Not in it is what trains, draws, runs examples or starts processes, and what takes longest of these folders.
QUICK = $(wildcard $(patsubst %,tests/%/test_*.py,batches cost metrics networks neurons quantization recalibration \
        stopping uncertainty) tests/test_*.py)
NOT_QUICK = $(patsubst %,tests/%.py,test_devices test_docs test_kill test_missing_packages test_release \
        quantization/test_transforms recalibration/test_temperature stopping/test_conformal_stopping stopping/test_risk_control \
        $(addprefix uncertainty/test_,add_dropout blockwise_prediction compiled find_randomness mask_timing mc_moments \
        mc_passes zoo))

quick: setup    ## the quick tests, in a minute and a half
	$(BIN)/python -m pytest -q -n 2 $(SIDE_BY_SIDE) -m 'not slow' $(filter-out $(NOT_QUICK),$(QUICK)) $(PYTEST)

bench: setup    ## time and memory against snnTorch, SpikingJelly and Norse (needs MNIST; half an hour)
	OMP_NUM_THREADS=2 $(BIN)/python -W ignore -m tests.benchmarks.run

figures: setup  ## every committed figure again from the table beside it
	$(BIN)/python -W ignore -m paper.redraw_figures

paper: setup    ## the report of paper/ from its measured rows: figures, tables, numbers, PDF
	$(BIN)/python -W ignore -m paper.build

docs: setup     ## the documentation as a site in docs/_build: offline, a warning is an error
	$(BIN)/python -m docs.tables
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build

clean:          ## remove the virtual environment, the demo and compiled kernels
	rm -rf $(VENV) demo
	find tsnn_uq -name '*.nb[ic]' -delete
