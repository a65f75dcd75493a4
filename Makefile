# Every target does its own set-up: a fresh clone needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Bytecode is written, whatever the shell says: sixty processes would compile the package anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal
# As users run it; elsewhere JAX compiles quickly what runs but twice.
OPTIMIZED := JAX_DISABLE_MOST_OPTIMIZATIONS=0
AS_USERS = $(OPTIMIZED) $(PYTEST) -n 0 -m 'optimized and not nightly and not slow' \
	$(shell grep -rl --include='test_*.py' mark.optimized tests)

.DEFAULT_GOAL := help
.PHONY: help draw trained quickstart demo test test-further test-backends test-all test-slow coverage lint docs format clean

help:  ## Show the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

draw: $(VENV)/command  ## Draw 2s with a model that comes trained.
	$(BIN)/cvae generate mnist-dense -c 2

quickstart: $(VENV)/command  ## Train on small digits in under a minute and draw one.
	$(BIN)/cvae quickstart

demo: $(VENV)/command  ## A page to play with, demo.html, of a model that comes trained.
	$(BIN)/cvae studio mnist-dense -o demo.html --overwrite

test: lint  ## Checks and tests on JAX.
	$(PYTEST)

test-further: $(VENV)/dev  ## Tests on JAX that run no line of code which `make test` does not.
	$(PYTEST) -m 'further and not nightly and not slow'
	$(AS_USERS)

MORE := -m 'not nightly and not slow'

test-backends: $(VENV)/backends  ## The equations and one case a class on PyTorch and TensorFlow, and across all three.
	KERAS_BACKEND=torch $(PYTEST) $(MORE) $(CORE_TESTS)
	KERAS_BACKEND=tensorflow $(PYTEST) $(MORE) $(CORE_TESTS) tests/exports/test_saved_model.py
	KERAS_BACKEND=jax $(PYTEST) -n 0 tests/test_across_backends.py

CORE_TESTS := tests/probability tests/networks tests/models/test_lives.py tests/models/test_model.py \
	tests/inference/test_importance.py tests/inference/test_drawing.py

test-all: lint coverage $(VENV)/backends  ## Every case on every backend, as users' programs are compiled.
	$(OPTIMIZED) $(PYTEST) -m 'not slow' --hypothesis-profile=thorough
	KERAS_BACKEND=torch $(PYTEST) -m 'not slow' $(ALL_BACKENDS)
	KERAS_BACKEND=tensorflow $(PYTEST) -m 'not slow' $(ALL_BACKENDS)

ALL_BACKENDS := tests/probability tests/conditions tests/networks tests/models tests/inference tests/evaluation

test-slow: $(VENV)/dev  ## Trainings of minutes on the real MNIST; 10,000 broken files.
	$(OPTIMIZED) $(PYTEST) -m slow

coverage: $(VENV)/dev  ## Which lines and branches `make test` runs.
	$(PYTEST) $(COVER)
	$(BIN)/coverage report

COVER := --cov --cov-report= --cov-fail-under=0

lint: $(VENV)/dev  ## ruff, mypy and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

trained: $(VENV)/dev  ## Make the models that come trained anew; MNIST=PATH, ADULT=PATH where they cannot be downloaded.
	$(BIN)/python tools/trained.py --mnist $(or $(MNIST),mnist) $(if $(ADULT),--adult $(ADULT))

docs: $(VENV)/docs  ## The site, in build/site: theory, how-to, reference, results; broken links are errors.
	$(BIN)/python tools/build_site.py build/site

format: $(VENV)/dev  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove the environment and caches.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

# One environment: what the command needs, what its developers need, what PyTorch and TensorFlow need.
$(VENV)/command: $(BIN)/python pyproject.toml constraints.txt
	$(call install,--editable .)
	touch $@

$(VENV)/dev: $(BIN)/python pyproject.toml constraints.txt
	$(call install,--editable '.[dev]')
	touch $(VENV)/command $@

$(VENV)/docs: $(BIN)/python pyproject.toml constraints.txt
	$(call install,--editable '.[docs]')
	touch $(VENV)/command $@

# torch by itself and pinned: pip then takes a build for CPUs where the machine offers one.
$(VENV)/backends: $(VENV)/dev
	$(BIN)/python -m pip install --no-compile --constraint constraints.txt torch==2.13.0
	$(call install,tensorflow-cpu)
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# uv, where it is there, is several times as fast. pip compiles what it installs file by file; here
# both cores do, without the packages' own tests.
UV := $(shell command -v uv)
ifdef UV
install = uv pip install --python $(BIN)/python --compile-bytecode --constraint constraints.txt $(1)
else
define install
	@echo 'Installing into $(VENV); a minute or so.'
	$(BIN)/python -m pip install --no-compile --constraint constraints.txt $(1)
	@echo 'Compiling what was installed; half a minute.'
	$(BIN)/python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib || true
endef
endif
