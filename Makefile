# Everything here sets up by itself what it needs: Python 3.11+, a C compiler and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= build/demo

.PHONY: all demo test fuzz lint format bench operators fixtures clean
all: test

# The environment is made once, and again when the dependencies change.
$(VENV)/.core: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,torch,tensorflow]'
	@touch $@

demo: $(VENV)/.core
	BIN=$(BIN) OUT=$(DEMO) sh fixtures/demo.sh

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal

# Any shapes and attributes, drawn anew each time: what it finds becomes an example in a test.
fuzz: $(VENV)/.dev
	EXAMPLES=$${EXAMPLES:-500} $(BIN)/python -m pytest -n auto --dist worksteal --hypothesis-profile fuzz $(or $(TESTS),tests/tflite)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

operators: $(VENV)/.dev
	$(BIN)/python benchmarks/operators.py

fixtures: $(VENV)/.dev
	$(BIN)/python fixtures/train_digits.py

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
