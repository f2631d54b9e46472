# Every target bootstraps .venv by itself; nothing else is needed but Python 3.11-3.13 with venv,
# make, libgomp and a package index.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
RUN := .venv/bin/python
STAMP := .venv/.installed
# One more than the two processors it was measured on: the longest tests wait for a clock.
WORKERS ?= 3
LOCKED := --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --python-version 3.11
COMPILE := .venv/bin/uv pip compile pyproject.toml $(LOCKED)
# Images take the versions that were tested, and of those only what they import.
IMAGE_COMPILE := $(COMPILE) -c requirements.lock

.PHONY: help setup demo test test-compose soak check bench lock docs clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(STAMP)  ## make .venv with the locked packages and the hawk command

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "setup: needs CPython 3.11, 3.12 or 3.13 on PATH (Debian: apt install python3)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "setup: $(PYTHON) has no venv (Debian: apt install python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || [ "$$(uname)" = Darwin ] || \
	  { echo "setup: libgomp is missing, LightGBM needs it (Debian: apt install libgomp1; macOS: brew install libomp)"; exit 1; }
	@echo "setup: making .venv with $$($(PYTHON) --version); about a minute"
	@$(PYTHON) -m venv .venv
	@$(RUN) -m pip install --quiet --require-hashes -r requirements.lock
	@$(RUN) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## the whole loop on simulated data, about three minutes
	@.venv/bin/hawk demo

test: setup  ## all tests
	@$(RUN) -m pytest -n $(WORKERS) --maxschedchunk 16

test-compose: setup  ## the containers: built, started, broken, searched; needs Docker, minutes
	@$(RUN) -m pytest -m compose tests/compose

soak: setup  ## the long tests: a hundred seeds of crashes, swaps and stalls
	@$(RUN) -m pytest -n 2 -m soak

check: setup  ## style, types, layout
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench: setup  ## all benchmarks, written to benchmarks/results/
	@$(RUN) -m benchmarks.run_all

docs: setup  ## regenerate docs/features.md, docs/data.md and .env.example
	@$(RUN) -m services.features.catalog > docs/features.md
	@$(RUN) -m services.console.schema > docs/data.md
	@$(RUN) -m services.console.env_example > .env.example

lock:  ## resolve requirements.lock and the lock of each image anew
	@$(COMPILE) --extra all --extra dev -o requirements.lock
	@$(IMAGE_COMPILE) -o deploy/locks/common.lock
	@echo "setuptools>=80" | .venv/bin/uv pip compile - $(LOCKED) -c requirements.lock -o deploy/locks/build.lock
	@for s in collector features predictor trader trainer monitor; do \
	  $(IMAGE_COMPILE) --extra $$s -o deploy/locks/$$s.lock || exit 1; done
	@$(IMAGE_COMPILE) --extra all -o deploy/locks/console.lock

clean:  ## remove what was built, keep data
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
