# Two commands do everything from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --profile profiles/local
# The environment for GPUs where it was made.
NODE := $(if $(wildcard .venv-gpu/installed),.venv-gpu,.venv)

.PHONY: setup setup-gpu setup-benchmark hashes audit profile demo test test-gpu coverage mutation doctor lint

setup: .venv/installed

setup-gpu: .venv-gpu/installed

# The stamp is written last, so an interrupted installation is done again; a changed pin too.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, here is " + sys.version.split()[0] + "; give another as PYTHON=")'
	$(PYTHON) -m venv $(1)
endef

# A file with another hash than the one that is written down is refused.
.venv/installed: envs/hashes.txt
	$(call environment,$(@D))
	$(@D)/bin/python -m pip install --quiet --require-hashes --no-deps --requirement envs/hashes.txt
	touch $@

# For a node with a GPU: TensorRT itself, and what tests/gpu needs; not torch-tensorrt-rtx, which goes by the same name.
.venv-gpu/installed: envs/pins.txt envs/workflow.txt envs/gpu.txt envs/without-dependencies.txt
	$(call environment,$(@D))
	$(@D)/bin/python -m pip install --quiet --constraint envs/pins.txt --requirement envs/workflow.txt --requirement envs/gpu.txt pytest hypothesis 'tritonclient[grpc]'
	$(@D)/bin/python -m pip install --quiet --no-deps --constraint envs/pins.txt --requirement envs/without-dependencies.txt
	touch $@

# What the benchmark sets beside ours, in the environment that runs it.
setup-benchmark: $(NODE)/installed
	$(NODE)/bin/python -m pip install --quiet --constraint envs/pins.txt --requirement envs/benchmark.txt

# What `make setup` installs, with the hash of every file of every version, after a list or a pin was changed.
UV = .venv-hashes/bin/uv pip compile --quiet --no-header --no-annotate --generate-hashes --constraint envs/pins.txt --python-version 3.11 --python-platform linux

hashes:
	$(call environment,.venv-hashes)
	.venv-hashes/bin/python -m pip install --quiet --constraint envs/pins.txt uv
	echo '# Written by `make hashes`: what pins.txt says of the packages of workflow.txt, tests.txt and without-dependencies.txt.' > envs/hashes.part
	$(UV) --no-emit-package setuptools envs/workflow.txt envs/tests.txt >> envs/hashes.part
	$(UV) --no-deps envs/without-dependencies.txt >> envs/hashes.part
	mv envs/hashes.part envs/hashes.txt

# Which of them have weaknesses that PyPI knows of.
audit:
	$(call environment,.venv-hashes)
	.venv-hashes/bin/python -m pip install --quiet --constraint envs/pins.txt pip-audit
	.venv-hashes/bin/pip-audit --requirement envs/hashes.txt --require-hashes --disable-pip

# The SLURM profile where Snakemake finds it by name: yours from then on.
PROFILE = $(or $(XDG_CONFIG_HOME),$(HOME)/.config)/snakemake/slurm

profile:
	@if [ -e "$(PROFILE)" ]; then echo "$(PROFILE) is there already: edit it, or remove it first" >&2; exit 1; fi
	@mkdir -p "$(dir $(PROFILE))" && cp -r profiles/slurm "$(PROFILE)"
	@echo "Now edit $(PROFILE)/profile.yaml: partition, GPU model, account"

demo: setup
	$(SNAKEMAKE) --configfile config/demo.yaml --directory studies/demo
	@cat studies/demo/results/tables/comparison.md
	@echo "These cells are drawn: the accuracies say that the workflow works, and nothing about blood."
	@echo "The answer, with tables and figures: studies/demo/results/report/index.html"

# Two processes for two cores, and one since the tests of SLURM mostly wait.
PROCESSES ?= 3

test: setup
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --timeout 1800

test-gpu: setup-gpu
	.venv-gpu/bin/python -m pytest tests/gpu

# Which lines and branches of the library the unit tests reach, in their own and other processes.
coverage: setup
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(PROCESSES) tests/unit
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --sort=cover

# How many faults put in at random the unit tests of four modules notice.
mutation: setup
	$(BIN)/python tests/mutation/score.py

# What this machine can do.
doctor: $(NODE)/installed
	$(NODE)/bin/snakemake --profile profiles/local --force doctor

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint --configfile config/demo.yaml
