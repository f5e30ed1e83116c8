# make demo    sets everything up in .venv and runs the main job on the built-in pictures
# make test    sets everything up in .venv and runs all tests
# make quick   the tests that take two minutes in all on two cores, for while one works
# make check   ruff, mypy and the tests
# make docs    the documentation site, in site/
# make release wheel and source archive in dist/, checked in a fresh environment (docs/releasing.md)
#
# PYTHON=python3.12 picks another interpreter, VENV=/some/folder another environment,
# OUT=runs/x another folder for the demo. Without a GPU on Linux x86-64, this saves 3 GB:
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo

PYTHON ?= python3
VENV ?= .venv
OUT ?= runs/demo
WORKERS ?= 2
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test quick lint types check docs release clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/vlprompt demo --out $(OUT)

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(WORKERS)

quick: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(WORKERS) --quick

lint: $(VENV)/.installed-test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/python -m mypy

check: lint types test

docs: $(VENV)/.installed-docs
	$(BIN)/python docs/make_tables.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

release: $(VENV)/.installed-test
	rm -rf dist
	$(INSTALL) build
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python tools/check_wheel.py dist/ --python $(BIN)/python

# The environment is made again only when the interpreter's folder is missing, and filled again only
# when the files that say what belongs into it have changed.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "vlprompt needs Python 3.10 or newer; pick one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "this Python cannot make environments; on Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "setting up $(VENV); the first time this downloads torch and takes some minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=23.1'
	$(INSTALL) -e '.[ftfy,sklearn]'
	@touch $@

# open_clip comes without its dependencies: it asks for torchvision, whose wheel does not import beside
# a CPU build of torch, and the tests need nothing of it.
$(VENV)/.installed-test: $(VENV)/.installed
	@echo "installing what the tests need"
	$(INSTALL) -e '.[test,dev]'
	$(INSTALL) --no-deps open_clip_torch
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "installing what the documentation needs"
	$(INSTALL) -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis
