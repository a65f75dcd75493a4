# Every target does its own set-up: a fresh clone needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
VENV := .venv
BACKENDS := .venv-backends

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-backends test-backends-more test-slow lint format clean

help:  ## Show the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# torch first and pinned: whatever else asks for it then finds it installed.
$(BACKENDS)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BACKENDS)
	$(BACKENDS)/bin/python -m pip install --quiet --upgrade pip
	$(BACKENDS)/bin/python -m pip install --quiet 'torch==2.13.0'
	$(BACKENDS)/bin/python -m pip install --quiet --constraint constraints.txt tensorflow-cpu
	$(BACKENDS)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(VENV)/ready  ## Train on small digits in under a minute and draw one.
	$(VENV)/bin/cvae quickstart

test: lint  ## Checks and tests on JAX.
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(VENV)/bin/python -m pytest -n 2 -m 'optimized and not slow and not nightly'

test-backends: $(BACKENDS)/ready  ## The model's tests on PyTorch and TensorFlow, and across all three.
	KERAS_BACKEND=torch $(BACKENDS)/bin/python -m pytest -n 2 --dist loadfile $(CORE_TESTS)
	KERAS_BACKEND=tensorflow $(BACKENDS)/bin/python -m pytest -n 2 --dist loadfile $(CORE_TESTS)
	KERAS_BACKEND=jax $(BACKENDS)/bin/python -m pytest tests/test_across_backends.py

CORE_TESTS := tests/probability tests/networks tests/models/test_model.py tests/inference/test_importance.py \
	tests/inference/test_drawing.py

test-backends-more: $(BACKENDS)/ready  ## What takes too long for every change.
	KERAS_BACKEND=torch $(BACKENDS)/bin/python -m pytest -n 2 --dist loadfile $(MORE_TESTS)
	KERAS_BACKEND=tensorflow $(BACKENDS)/bin/python -m pytest -n 2 --dist loadfile $(MORE_TESTS)

MORE_TESTS := tests/conditions tests/inference/test_guidance.py tests/models/test_topdown.py \
	tests/evaluation tests/models/test_completion.py tests/models/test_semisupervised.py

test-slow: $(VENV)/ready  ## Trainings of minutes on the real MNIST.
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal -m slow

lint: $(VENV)/ready  ## ruff, mypy and the direction of imports.
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/ready  ## Format the code.
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:  ## Remove the environments and caches.
	rm -rf $(VENV) $(BACKENDS) build dist .mypy_cache .ruff_cache .pytest_cache
