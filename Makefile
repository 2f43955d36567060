# Two commands for newcomers: `make demo` and `make test`. Each makes the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LABEL_VENV ?= .venv-label
LABEL_READY := $(LABEL_VENV)/.ready
LABEL_PYTEST := $(LABEL_VENV)/bin/python -m pytest -o addopts="--strict-markers --import-mode=importlib"

.PHONY: demo test bench lint env label-env test-label test-viewer clean

demo: $(READY)
	$(BIN)/adaptiveclick-med demo --output_dir runs/demo

test: $(READY)
	$(BIN)/python -m pytest --cov=adaptiveclick_med --cov-report=term-missing:skip-covered

# Speed, as ratios in one run; on a quiet machine. Each script also runs alone; the rows go to runs/bench.
BENCHMARKS := network roofline decoder_memory session_click robot_user percentiles presets precision training_step \
	evaluation_lockstep exported training_throughput

bench: $(READY)
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --json runs/bench/$$name.json || exit 1; done

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

env: $(READY)

$(READY): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

# The server for 3D Slicer and OHIF has an environment of its own: MONAI Label needs older libraries.
label-env: $(LABEL_READY)

$(LABEL_READY): setup.cfg constraints-label.txt
	$(PYTHON) -m venv $(LABEL_VENV)
	$(LABEL_VENV)/bin/python -m pip install --quiet --constraint constraints-label.txt --editable ".[label]" pytest
	touch $(LABEL_READY)

test-label: $(LABEL_READY)
	$(LABEL_PYTEST) tests/label_app

# OHIF in a browser, and a PACS: tests/viewer/setup installs Debian's Orthanc and Chromium where they are missing.
test-viewer: $(LABEL_READY)
	tests/viewer/setup
	$(LABEL_VENV)/bin/python -m pip install --quiet --constraint constraints-label.txt --editable ".[label,viewer]"
	tests/viewer/alone $(LABEL_PYTEST) -o pythonpath=tests/viewer tests/viewer

clean:
	rm -rf $(VENV) $(LABEL_VENV) runs build *.egg-info
