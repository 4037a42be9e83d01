# Every target stands alone: what needs the environment builds it first, and a built one costs nothing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UNFINISHED := .venv-unfinished
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ARGS ?=

.PHONY: help install check test demo demo-study dev bench docs label-studio

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf '%-13s %s\n' "$$name" "$$text"; done

install: $(STAMP) ## build .venv from pinned versions; a second run does nothing

# An environment whose installation was cut off may hold half a package that pip takes for a whole one,
# so it is built again from nothing; an environment that was only outdated is brought up to date in place.
$(STAMP): pyproject.toml constraints.txt
	@python="$$(.ci/find-python $(PYTHON))"; \
	if [ -e $(UNFINISHED) ]; then echo "the last installation did not finish: starting again"; rm -rf $(VENV); fi; \
	touch $(UNFINISHED); \
	"$$python" -m venv $(VENV) || \
	  { echo "no virtual environment could be made; on Debian and Ubuntu the package python3.11-venv is missing" >&2; exit 1; }
	@echo "installing pinned packages into $(VENV): about 2 GB, a few minutes"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) -e '.[offline,app,dev]'
	@mv $(UNFINISHED) $(STAMP)

check: install ## lint, format and types; every step runs even when one fails
	@failed=0; \
	for step in "ruff check" "ruff format --check" "pyright"; do \
	  echo "== $$step"; $(BIN)/$$step || failed=1; \
	done; exit $$failed

test: install label-studio ## all tests; ARGS="-k words" for some
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

demo: install ## two turns of the wheel on real images, with a planted gap
	@$(BIN)/flywheel demo images $(ARGS)

demo-study: install ## the demo over many seeds and gaps, with a table
	@$(BIN)/python -m benchmarks.demo_study $(ARGS)

dev: install ## the Dagster UI with the sensors on
	@$(BIN)/flywheel dev $(ARGS)

bench: install ## benchmarks; ARGS="NAME …" for one, results as JSON
	@$(BIN)/python -m benchmarks $(ARGS)

docs: install ## run every command and load every configuration that the documentation shows
	@$(BIN)/python -m pytest tests/unit/test_docs.py $(ARGS)

label-studio: install ## the Label Studio server that tests use, in its own environment
	@$(BIN)/python -m tests.label_studio_server --install
