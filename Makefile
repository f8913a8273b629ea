# `make demo` and `make test` set themselves up: a virtual environment, the pinned versions, the package.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test slow posteriordb lint format bench peers clean

help:  ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Posterity needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: $(BIN)/python pyproject.toml constraints.txt
	@echo "Setting up $(VENV) ($*), once ..."
	@$(INSTALL) 'torch==2.13.0'
	@$(INSTALL) --editable '.[$*]'
	@touch $@

demo: $(VENV)/.installed-demo  ## train a Bayesian network on real digits and write demo/report.html
	@$(BIN)/posterity demo --out demo

test: $(VENV)/.installed-dev  ## the whole test suite, docstring examples included
	$(BIN)/python -m pytest --numprocesses auto

slow: $(VENV)/.installed-dev  ## the long statistical suites
	$(BIN)/python -m pytest -m slow --numprocesses auto

posteriordb: $(VENV)/.installed-dev  ## NUTS on every posterior of posteriordb, beside its reference draws
	$(BIN)/python -m tests.posteriordb.suite

lint: $(VENV)/.installed-dev  ## style, types and the order of the floors
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## put the code into the house's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

benchmarks/.peers/bin/python: benchmarks/peers.txt $(BIN)/python
	$(PYTHON) -m venv --clear benchmarks/.peers
	benchmarks/.peers/bin/python -m pip install --quiet --constraint constraints.txt 'torch==2.13.0'
	benchmarks/.peers/bin/python -m pip install --quiet --no-deps --requirement benchmarks/peers.txt
	benchmarks/.peers/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'

peers: benchmarks/.peers/bin/python  ## the libraries that the benchmarks compare with

bench: benchmarks/.peers/bin/python  ## every benchmark, with its table
	benchmarks/.peers/bin/python -m benchmarks

clean:  ## remove what the other targets made
	rm -rf $(VENV) benchmarks/.peers demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
