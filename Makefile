# One folder of tools, one command each. Every target sets up what it needs by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
DATA ?= ../shared/data
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup tour test test-all mutants soak check format bench lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## make .venv and install the locked versions

# PyTorch first and by its exact version: an open range would fetch a build with gigabytes of CUDA.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "graftwerk needs Python 3.11 or later; run: make PYTHON=python3.11 ..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

tour: $(READY)  ## a page that shows every job, in one or two minutes: tour/index.html
	$(BIN)/graft tour --out tour

# Two processes share two cores; threads of both on both would wait for each other. Tests start many
# commands, which would compile every module anew where Python writes no bytecode.
ONE_CORE := OMP_NUM_THREADS=1 GRAFTWERK_THREADS=1 PYTHONDONTWRITEBYTECODE=

test: $(READY)  ## the default tests: no network, six to eight minutes on two cores
	$(ONE_CORE) $(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(READY)  ## the default tests, the long and the slow ones
	$(ONE_CORE) $(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow"

# STATE names a folder outside of the repository: an interrupted run goes on there
mutants: $(READY)  ## faults put into a copy of src, each of which a test must notice (half an hour)
	$(ONE_CORE) $(BIN)/python -m tests.mutants $(if $(STATE),--state $(STATE))

ROUNDS := 9
soak: $(READY)  ## commands killed, stopped and failed at random moments, ROUNDS times; prints counts
	$(ONE_CORE) $(BIN)/python -m tests.soak $(ROUNDS) $(if $(STATE),--state $(STATE))

check: $(READY)  ## formatter, linter, types, import layers, size budget, default and long tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(ONE_CORE) $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

format: $(READY)  ## format and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BENCH_READY): $(READY) pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[bench]' 'torch==2.13.0'
	@touch $@

bench: $(BENCH_READY)  ## side by side with peers, one run; DATA names a folder of public data
	$(BIN)/python -m bench --data $(DATA)

# The CPU build has no CUDA packages to pin; UV_FIND_LINKS names a folder or page that has its wheel.
lock: $(READY)  ## pin the newest allowed versions in requirements.lock
	echo 'torch==2.13.0+cpu' > $(VENV)/torch.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev --python-version 3.11 --generate-hashes \
	  --constraint $(VENV)/torch.txt --no-emit-package torch --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --upgrade --output-file requirements.lock

clean:  ## remove what the targets made
	rm -rf $(VENV) tour .mypy_cache .ruff_cache .pytest_cache .hypothesis
