# The two commands to know: `make demo` and `make test`. Each sets everything up in .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage test-slow test-gpu test-hub lint bench docs lock clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

setup: $(READY)  ## build .venv from requirements.lock

demo: $(READY)  ## the main job on embedded data: where transfer helps, and where it does not
	$(BIN)/headstart demo

# Tests are compiled once, whatever the environment says of bytecode; what a module's tests share is made by one worker.
test: $(READY)  ## the fast lane, under two minutes, no network
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m fast -n 2 --dist worksteal

coverage: $(READY)  ## the fast lane, and which lines it does not reach
	$(BIN)/python -m pytest -m fast -n 2 --dist worksteal --cov --cov-report=term:skip-covered

test-slow: $(READY)  ## the slow lane and, where the data is present, the bench lane
	$(BIN)/python -m pytest -m "slow or bench"

test-gpu: $(READY)  ## the gpu lane; its tests are skipped, by name, where torch sees no device
	$(BIN)/python -m pytest -m gpu

test-hub: $(READY)  ## the hub lane; HEADSTART_HUB=1 says that a model hub can be reached
	$(BIN)/python -m pytest -m hub

lint: $(READY)  ## ruff, mypy, the order of the rooms, generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check

bench: $(READY)  ## measure what the documentation claims; writes benchmarks/results/
	$(BIN)/python -m benchmarks

docs: $(READY)  ## write the reference pages from the code
	$(BIN)/python -m docs.generate

lock: $(READY)  ## resolve requirements.lock anew
	$(BIN)/uv pip compile --quiet --no-header --all-extras --group dev --universal --python-version 3.11 --output-file requirements.lock pyproject.toml

clean:  ## remove what make built
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache htmlcov .coverage dist
