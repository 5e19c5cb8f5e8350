# make demo and make test set up everything they need by themselves: a virtual environment from the hashed lock.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
PYTEST := $(RUN) -m pytest
# One worker for each core that this process may use, at most four.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist worksteal
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-all check interop bench mutants nightly smoke-real docs lock clean setup

demo: $(READY)
	@$(RUN) -m tsnet demo

test: $(READY)
	$(PYTEST) -q $(SIDE_BY_SIDE) -m "not slow and not interop" tests

# Every other CPython from 3.11 on that really runs (import ssl, venv), pyenv's included.
test-all: $(READY)
	$(RUN) tests/other_pythons.py

check: $(READY)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(PYTEST) -q -m slow tests/test_types.py

# Against real peers: wireguard-go, Headscale, testcontrol, derper, Go's tsnet, caddy, Linux. Wants root and Go.
interop: $(READY)
	tests/interop/build.sh
	TSNET_REQUIRE_INTEROP=1 $(PYTEST) -m "interop and not slow" tests

bench: $(READY)
	$(RUN) -m benchmarks

# Faults put into netstack, one at a time: at least 80 % must be noticed. All of them: make mutants MUTANTS= (hours).
MUTANTS ?= --sample 300 --seed 1
mutants: $(READY)
	$(RUN) -m tests.mutation $(MUTANTS)

nightly: $(READY)
	tests/interop/build.sh
	TSNET_NIGHTLY=1 TSNET_REQUIRE_INTEROP=1 $(PYTEST) -m "slow or interop" tests
	TSNET_NIGHTLY=1 TSNET_REQUIRE_INTEROP=1 $(RUN) -m benchmarks --floors netstack_costs netstack_linux netstack_gvisor
	$(MAKE) mutants MUTANTS="--sample 300 --seed $$(date +%j)"

# A person's tailnet: TS_AUTHKEY=tskey-auth-… make smoke-real
smoke-real: $(READY)
	$(RUN) -m tests.smoke_real

# docs/architecture.md: one line for each source file, from its docstring. docs/sockets.md: what sockets answer.
docs: $(READY)
	$(RUN) -m tests.documents
	$(RUN) -W ignore -m tests.sockets.conformance

# The lock is resolved for the oldest Python and every platform; it names no index.
lock: $(READY)
	$(RUN) -m uv --version >/dev/null 2>&1 || $(PIP) uv
	env -u PIP_FIND_LINKS $(RUN) -m uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --all-extras --group dev --group interop -o requirements.lock

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys, ssl, venv; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is no Python 3.11 or later with ssl and venv: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf .venv .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
