# The front door. Every target sets up what it needs; nothing but Python 3.11 or newer and make has to be there before.

VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core
STAMP := $(VENV)/.ready
PYTEST_ARGS ?= -n auto --dist worksteal

# The first of these that is new enough; override with `make PYTHON=/path/to/python3 ...`.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup edit test check docs format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with everything that editing, testing and checking need

$(CORE): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "varedit needs Python 3.11 or newer; install it or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up $(VENV) for editing (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --constraint constraints.txt
	@touch $@

$(STAMP): $(CORE)
	@echo "adding what tests and checks need (once, a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	@touch $@

edit: $(CORE)  ## edit the bundled photograph; the results go to edited/
	$(BIN)/varedit edit examples/coffee.jpg "make it black and white" -o edited/coffee.png --compare edited/coffee-before-after.png --force

# The many processes that tests start compile src once, not each anew, as they would where bytecode may not be written.
test: $(STAMP)  ## run the tests (PYTEST_ARGS="-k name" for some of them)
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(STAMP)  ## lint, formatting, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)  ## build the documentation site in build/site, without a warning
	$(BIN)/python docs/make_site.py build/docs
	$(BIN)/zensical build --strict --clean

format: $(STAMP)  ## rewrite the code as `make check` wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove .venv, caches and results
	rm -rf $(VENV) edited build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
