# Each target works alone on a fresh clone: the environment is made on first use, and again when
# pyproject.toml changes. Extra arguments: make audit ARGS="STUDY.toml", make test ARGS="-k consensus".
PYTHON ?= python3
VENV := .venv
EXTRAS := dev,diffusion
ARGS :=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install audit test check format bench results dist clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## make the environment and install the package into it

# The stamp comes last: an installation that was cut short is taken up again by the next make.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "PYTHON=$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS)]"
	@touch $@

audit: $(STAMP) ## attack and defend the embedded world, write the report
	$(BIN)/secondlook audit $(ARGS)

# A process for each processor, of one thread each where OMP_NUM_THREADS does not say otherwise.
test: $(STAMP) ## run the tests and the doctests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile $(ARGS)

check: $(STAMP) ## formatting, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff format the code and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## run every benchmark, one after the other
	@set -e; for file in benchmarks/bench_*.py; do \
		echo "== $$file"; $(BIN)/python -m benchmarks.$$(basename $$file .py) $(ARGS); \
	done

results: $(STAMP) ## write docs/results.md and its figures from docs/results/; ARGS="runs/default" takes a run in
	$(BIN)/python -m experiments.results $(ARGS)

# A wheel that lacks a file of data works in the checkout and nowhere else: hence the empty environment.
dist: $(STAMP) ## build wheel and sdist, check them, and audit with the wheel in an empty environment
	rm -rf dist
	$(BIN)/python -m pip install --quiet build twine
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	@empty=$$(mktemp -d) && $(PYTHON) -m venv $$empty/venv && $$empty/venv/bin/python -m pip install --quiet dist/*.whl && \
		cd $$empty && venv/bin/secondlook audit default --samples 2 --out run && rm -rf $$empty

clean: ## remove the environment, builds and caches; runs are kept
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks experiments -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
