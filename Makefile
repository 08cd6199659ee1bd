# `make` alone prints this list.
PYTHON ?= python3
PROFILE ?= quick
ENV := .venv
RUN := OMP_NUM_THREADS=1 $(ENV)/bin/python

.PHONY: help book live check test lint faults bench zoo reproduce release data lab clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo "  make book PROFILE=paper: all of MNIST; PROFILE=smoke: seconds a chapter"

book: $(ENV)/complete  ## execute the chapters that changed, build the site, say where it is
	$(RUN) -m companion book --profile $(PROFILE)

live: $(ENV)/complete  ## serve the book and reload it when something changes
	$(RUN) -m companion live --profile $(PROFILE)

check: lint  ## format, lint, types, and the tests that need neither book nor browser: 90 seconds
	$(RUN) -m pytest --ignore=tests/site

test: lint  ## all tests, those of the chapters and of the site in a browser included: 8 minutes
	$(RUN) -m pytest

lint: $(ENV)/complete
	$(ENV)/bin/ruff format --check --quiet .
	$(ENV)/bin/ruff check --quiet .
	$(ENV)/bin/mypy

faults: $(ENV)/complete  ## break builds and data in every way we know, and write the table of it: 30 minutes
	$(RUN) -m faults

bench: $(ENV)/complete  ## how fast, as ratios within one run
	$(RUN) -m benchmarks

zoo: $(ENV)/complete  ## hold the meter against autograd in every family of torchvision and timm: 15 minutes
	$(RUN) -m companion.studies.zoo

reproduce: $(ENV)/complete  ## build the commit twice, elsewhere, and name every file that differs
	$(RUN) -m companion reproduce --profile $(PROFILE)

release: $(ENV)/complete  ## the book, and beside it the site as a zip, results, notebooks, pins, a PDF, checksums
	$(RUN) -m companion release --profile $(PROFILE)

data: $(ENV)/complete  ## fetch MNIST and Fashion-MNIST into BNLIB_DATA, or the cache
	$(RUN) -c "from bnlib import data; [print(name, 'is in', data.download(name)) for name in data.NAMES[1:]]"

lab: $(ENV)/complete  ## open the chapters in JupyterLab, paired with notebooks
	$(ENV)/bin/jupytext --sync book/*.py
	$(ENV)/bin/jupyter lab book

clean:  ## remove what was built, but not the environment
	rm -rf _build node_modules book/*.ipynb

# The file `complete` is written last: an interrupted installation goes on. What is in the environment stays, so that a
# CPU build of torch that was put there is kept, and a linked environment is not emptied.
$(ENV)/complete: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; v = sys.version_info; v >= (3, 11) or sys.exit(f'Python {v.major}.{v.minor} is too old: 3.11 is needed, make PYTHON=python3.11')"
	$(PYTHON) -m venv $(ENV)
	$(ENV)/bin/python -m pip install --disable-pip-version-check --quiet -r requirements.txt
	$(ENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps -e .
	touch $@
