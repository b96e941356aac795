# make demo: the flagship, from nothing.  make test: all tests.  make check: style, types, layers, docs.
VENV ?= .venv
PYTHON ?= python3
PY := $(VENV)/bin/python
# Most tests wait for processes of their own, so that two at once take little more than one.
PARALLEL ?= -n 2 --no-loadscope-reorder

# Programs are started by the hundred in tests and benchmarks: compiled once, they start in half the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check bench docs docs-reference chaos format clean

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -e '.[analysis,anuga]'
	touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -e '.[dev]'
	touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	PATH="$(abspath $(VENV)/bin):$$PATH" $(PY) -m rompy_hydra experiment=salish_tsunami
	@echo "next       activate the environment:  . $(VENV)/bin/activate"

test: $(VENV)/.dev
	PATH="$(abspath $(VENV)/bin):$$PATH" $(PY) -m pytest $(PARALLEL) $(PYTEST_ARGS)

# The long campaigns: many kills, large grids.
chaos: $(VENV)/.dev
	PATH="$(abspath $(VENV)/bin):$$PATH" $(PY) -m pytest -m slow --run-slow

check: $(VENV)/.dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) docs/prose.py
	$(VENV)/bin/codespell rompy_hydra hydra_plugins conf tests docs benchmarks README.md CONTRIBUTING.md CHANGELOG.md
	$(PY) docs/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet --site-dir $(VENV)/site

docs: $(VENV)/.dev
	$(PY) docs/generate.py

# Sweeps first: the others delete thousands of files at their end, after which ext4 is slow for minutes.
bench: $(VENV)/.dev
	$(PY) benchmarks/sweep.py
	$(PY) benchmarks/startup.py
	$(PY) benchmarks/plugins.py

format: $(VENV)/.dev
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

clean:
	rm -rf $(VENV) site build dist
