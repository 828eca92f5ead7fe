# make demo [LIBRARY=lightgbm]   the whole way on real data, in about a minute
# make test [PYTEST_ARGS=...]    the whole test suite
# make test-kernels              the kernels alone, indices checked, and as plain Python
# make test-cuda-simulated       the CUDA kernels in Numba's simulator, without a GPU
# make test-lowest               the same with the oldest libraries pyproject.toml allows
# make test-versions             the rows of each tree, in every version of each library
# make lint                      ruff and mypy
# make bench                     the speed table, into build/bench
# make clean                     everything the above left behind
#
# Each makes what it needs in a virtual environment of its own (VENV, .venv by default)
# and installs again only when pyproject.toml changed. PYTHON picks the interpreter.

LIBRARY ?= lightgbm
VENV ?= .venv
WORKERS ?= logical
PYTEST_ARGS ?= -n $(WORKERS) --dist worksteal
PYTHON ?=
LOWEST_VENV ?= .venv-lowest

BIN := $(VENV)/bin
KEY := $(shell cksum < pyproject.toml | cut -d ' ' -f 1)
DEV := $(VENV)/.installed-dev-$(KEY)
# What serves the tests serves the demo.
DEMO := $(or $(wildcard $(DEV)),$(VENV)/.installed-$(LIBRARY)-$(KEY))
LOWEST := $(LOWEST_VENV)/.installed-dev-$(KEY)
INSTALL := PYTHON='$(PYTHON)' sh .ci/install

.DEFAULT_GOAL := help
.PHONY: help demo test test-kernels test-cuda-simulated test-lowest test-versions lint bench clean

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

demo: $(DEMO)
	@$(BIN)/treeinf demo --library $(LIBRARY) $(DEMO_ARGS)

test: $(DEV) test-kernels test-cuda-simulated
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

# Compiled code does not check its indices, and coverage does not see it.
KERNEL_TESTS := tests/ensemble/test_losses.py tests/kernels \
  tests/explainers/gradient/test_boostin.py
CHECKED_TESTS := $(KERNEL_TESTS) tests/explainers/test_contract.py \
  tests/explainers/gradient/test_leaf_influence.py
test-kernels: $(DEV)
	@echo "Kernels with checked indices ..."
	@NUMBA_BOUNDSCHECK=1 $(BIN)/python -m pytest -q -m "not slow" $(PYTEST_ARGS) \
	  $(CHECKED_TESTS)
	@echo "Kernels as plain Python ..."
	@NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -m "not slow" $(KERNEL_TESTS) \
	  -k "losses or routing or published or diagonal or twin or merge or group or products"
	@NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q tests/explainers \
	  -k "forward_recursion and regression or leaf_coupling_equals and binary or steps"

test-cuda-simulated: $(DEV)
	@echo "CUDA kernels in the simulator ..."
	@NUMBA_ENABLE_CUDASIM=1 $(BIN)/python -m pytest -q -m cuda $(PYTEST_ARGS) \
	  tests/cuda tests/explainers/test_contract.py

test-lowest: $(LOWEST)
	@$(LOWEST_VENV)/bin/python -m pytest $(PYTEST_ARGS)

# What each makes stays in build/versions; the table goes to benchmarks/results.
test-versions: $(DEV)
	@$(BIN)/python -m tests.adapters.versions

lint: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(DEV)
	@$(BIN)/python -m benchmarks.speed --out build/bench --force

clean:
	rm -rf .venv .venv-lowest build dist htmlcov .coverage .coverage.* .hypothesis \
	  .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEV):
	@$(INSTALL) $(VENV) $@ dev

ifneq ($(DEMO),$(DEV))
$(DEMO):
	@$(INSTALL) $(VENV) $@ $(LIBRARY),cli,plot
endif

$(LOWEST):
	@$(INSTALL) $(LOWEST_VENV) $@ dev lowest
