# Two commands for newcomers: `make demo` and `make test`. Each makes the environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint env clean

demo: $(READY)
	$(BIN)/adaptiveclick-med demo --output_dir runs/demo

test: $(READY)
	$(BIN)/python -m pytest --cov=adaptiveclick_med --cov-report=term-missing:skip-covered

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

env: $(READY)

$(READY): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) runs build *.egg-info
