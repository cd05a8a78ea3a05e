# Two commands do everything from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --profile profiles/local

.PHONY: setup demo test lint rulegraph clean

setup: .venv/installed

# The stamp is written last, so an interrupted installation is done again; a changed pin too.
.venv/installed: envs/pins.txt envs/workflow.txt envs/tests.txt envs/without-dependencies.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, here is " + sys.version.split()[0] + "; give another as PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint envs/pins.txt --requirement envs/workflow.txt --requirement envs/tests.txt
	$(BIN)/python -m pip install --quiet --no-deps --constraint envs/pins.txt --requirement envs/without-dependencies.txt
	touch $@

demo: setup
	$(SNAKEMAKE) --configfile config/demo.yaml --directory studies/demo
	@cat studies/demo/results/tables/comparison.md
	@echo "The answer, with tables and figures: studies/demo/results/report/index.html"

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint --configfile config/demo.yaml
