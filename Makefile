# make demo: run the default study and print its table.   make test: run the tests.   make lint: run the checks.
# make restore: pull a shared study and prove it, so that nothing is made again.   make bench: write docs/performance.md.
# make test-slow: run the slowest tests, which make test leaves out.
# make docs: build the documentation site.   make reference: write what docs and schema take from the code.
# make test-slurm: test on a real SLURM on this machine, in minutes.
# make test-slurm-all: the same with every fault and the default study.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DOCS := .venv-docs
# Rules call `collabpipe`, so the environment's commands must come first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo restore test test-slow test-gpu test-slurm test-slurm-all slurm bench lint format docs reference lock clean

demo: $(READY)
	snakemake --profile profiles/quiet --cores all
	collabpipe show

restore: $(READY)
	collabpipe restore
	snakemake --cores all --dry-run --quiet rules host

test: $(READY)
	pytest -n 2 -m 'not slow'

test-slow: $(READY)
	pytest -n 2 -m slow

# Without this environment, for example on a rented machine: python -m pytest -m gpu
test-gpu: $(READY)
	pytest -m gpu tests/gpu

# Writes its tables to docs/performance.md. On a GPU: python -m benchmarks --device cuda.
bench: $(READY)
	python -m benchmarks

test-slurm: $(READY) slurm
	pytest tests/slurm -m quick

test-slurm-all: $(READY) slurm
	pytest tests/slurm

# Installs only the packages. The tests start the daemons.
slurm:
	@for command in sbatch munged; do command -v $$command > /dev/null || missing=1; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge \
	        > /dev/null; \
	fi

# This project publishes no container image, so Snakemake's complaint about that is allowed. Any other complaint fails.
lint: $(READY)
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile rules workflow collabpipe/shipped/study/Snakefile
	snakemake --lint > $(VENV)/lint.log 2>&1 || true
	grep -q 'Lints for rule' $(VENV)/lint.log
	! grep '^    \* ' $(VENV)/lint.log | grep -v 'Specify a conda environment or container'

format: $(READY)
	ruff check --fix .
	ruff format .
	snakefmt Snakefile rules workflow collabpipe/shipped/study/Snakefile

reference: $(READY)
	collabpipe schema --out config/schema.json
	python docs/reference.py
	python docs/errors.py

# The last line fails if a page loads anything from another host.
docs: $(DOCS)/ready
	rm -rf build/docs
	$(DOCS)/bin/sphinx-build --quiet --fail-on-warning --keep-going -c docs . build/docs
	! grep -rE --include='*.html' '<(link|script|img|iframe)[^>]* (href|src)="(https?:)?//' build/docs
	@echo "the site: build/docs/index.html"

$(DOCS)/ready: requirements-docs.lock
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --no-deps --require-hashes -r requirements-docs.lock
	touch $@

# The lock files are complete, so pip resolves nothing. On Linux, PyPI's torch brings gigabytes of CUDA libraries. So a
# machine without an NVIDIA driver first tries the CPU build, which pip finds if it is configured to (PIP_FIND_LINKS,
# PIP_EXTRA_INDEX_URL). If pip does not find it, PyPI's torch is installed.
INSTALL := $(BIN)/pip install --quiet --no-deps --require-hashes
$(READY): requirements.lock requirements-cpu.lock requirements-cuda.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "python3.11 is missing: apt-get install python3.11 python3.11-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	test -e /dev/nvidiactl || $(INSTALL) -r requirements-cpu.lock 2> /dev/null || true
	$(INSTALL) -r requirements.lock
	case "$$(uname -s) $$($(BIN)/pip show torch | grep ^Version)" in \
	    Linux*+cpu | Linux*+cu126 | Darwin*) ;; \
	    *) $(INSTALL) -r requirements-cuda.lock ;; \
	esac
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Needs uv. Locked versions stay as they are (make lock UPGRADE=--upgrade upgrades them). requirements-cpu.lock is
# written by hand, because uv does not know CPU builds of the same release.
lock:
	cat requirements.lock requirements-cuda.lock > all.lock
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev $(UPGRADE) \
	    pyproject.toml -o all.lock
	awk '/^[a-z]/ { cuda = /^(nvidia-|cuda-|triton)/ } \
	     { print > (cuda ? "requirements-cuda.lock" : "requirements.lock") }' all.lock
	rm all.lock
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --group docs $(UPGRADE) \
	    -o requirements-docs.lock

clean:
	rm -rf $(VENV) $(DOCS) build results .snakemake
