# make demo and make test set up everything they need by themselves: a virtual environment from the hashed lock.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
PYTEST := $(RUN) -m pytest

.PHONY: demo test test-all check interop bench nightly smoke-real lock clean setup

demo: $(READY)
	@$(RUN) -m tsnet demo

test: $(READY)
	$(PYTEST) -m "not slow and not interop" tests

# Every other CPython from 3.11 on that really runs (import ssl, venv), pyenv's included.
test-all: $(READY)
	$(RUN) tests/other_pythons.py

check: $(READY)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

# Against real peers: wireguard-go, Headscale, testcontrol, derper, Go's tsnet, caddy, Linux. Wants root and Go.
interop: $(READY)
	tests/interop/build.sh
	TSNET_REQUIRE_INTEROP=1 $(PYTEST) -m "interop and not slow" tests

bench: $(READY)
	$(RUN) -m benchmarks

nightly: $(READY)
	tests/interop/build.sh
	TSNET_NIGHTLY=1 TSNET_REQUIRE_INTEROP=1 $(PYTEST) -m "slow or interop" tests

# A person's tailnet: TS_AUTHKEY=tskey-auth-… make smoke-real
smoke-real: $(READY)
	$(RUN) tests/smoke_real.py

# The lock is resolved for the oldest Python and every platform; it names no index.
lock: $(READY)
	$(RUN) -m uv --version >/dev/null 2>&1 || $(RUN) -m pip install -q uv
	env -u PIP_FIND_LINKS $(RUN) -m uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --all-extras --group dev --group interop -o requirements.lock

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf .venv .venv-* build dist .mypy_cache .ruff_cache .pytest_cache
