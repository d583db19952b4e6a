# make demo   train a small network and the one found for it; prints a table and the report's path
# make demo-restoration   the same for enlarging photographs
# make demo-tracking   the same for following a target, and a video of one
# make demo-slim   train a small network and halve what it computes; prints a table and paths
# make test   style, types and tests
# make test-all   the same with the long tests: larger networks, more repetitions
# make test-oldest   the tests with the oldest torch, torchvision and timm
# make test-gpu   the tests that need a CUDA GPU
# make test-cluster   the tests that start Ray or a storage server
# make docs   build the documentation's site into site/
# All set up .venv first: PYTHON names the interpreter to use (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-restoration demo-tracking demo-slim test test-all test-oldest test-gpu test-cluster docs lint format clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || \
	  { echo "error: $(PYTHON) not found; name a Python of 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $$($(PYTHON) --version) is too old; name a Python of 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt \
	  -e '.[dev]'
	$(BIN)/python -m compileall -q src
	@touch $@

demo: $(INSTALLED)
	$(BIN)/lwdna quickstart

demo-restoration: $(INSTALLED)
	$(BIN)/lwdna quickstart restoration/photos

demo-tracking: $(INSTALLED)
	@number=1; while test -e runs/tracking-$$number; do number=$$((number + 1)); done; \
	run=runs/tracking-$$number; set -x; \
	$(BIN)/lwdna quickstart tracking/photos --out $$run && \
	$(BIN)/lwdna track --weights $$run/lwdna --out $$run/track

demo-slim: $(INSTALLED)
	$(BIN)/lwdna slim digits --macs 0.5

# Two processes with one thread each, which also adds numbers up in the same order everywhere.
# One process does all tests of a file, which may share something expensive.
# In the order of the folders large files come first; by default xdist keeps those with few but
# long tests for the end, where one process would wait for the other.
TEST := pytest -n 2 --dist loadfile --no-loadscope-reorder

test: export OMP_NUM_THREADS := 1
test: lint
	$(BIN)/$(TEST)

test-all: export OMP_NUM_THREADS := 1
test-all: lint
	$(BIN)/$(TEST) --all

# An environment of its own, .venv-oldest
test-oldest: export OMP_NUM_THREADS := 1
test-oldest: $(INSTALLED)
	test -x $(VENV)-oldest/bin/python || $(PYTHON) -m venv $(VENV)-oldest
	$(BIN)/uv pip install --quiet --python $(VENV)-oldest/bin/python -c constraints-oldest.txt -e '.[dev]'
	$(VENV)-oldest/bin/$(TEST) --all

test-gpu: $(INSTALLED)
	$(BIN)/pytest --gpu

test-cluster: export OMP_NUM_THREADS := 1
test-cluster: $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev,cluster]'
	$(BIN)/pytest --cluster tests/cluster

docs: export NO_MKDOCS_2_WARNING := 1
docs: $(INSTALLED)
	$(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; with search: $(BIN)/python -m http.server --directory site"

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --num-workers 2

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Runs and the environment stay: they are results and take minutes to make.
clean:
	rm -rf build dist site src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks docs examples -name __pycache__ -type d -prune -exec rm -rf {} +
