# make setup   install everything into .venv, and the sandbox where this machine lets us
# make toolchains  compilers and interpreters of the ten languages, from the system's packages (Debian, Ubuntu)
# make ablate  the quickstart ablation: train, fuse, evaluate, test, report
# make test    the whole test suite
# make check   ruff, mypy, import-linter
# make bench   speeds, side by side with plain alternatives

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup toolchains ablate test check bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,merge]'
	sh scripts/install-sandbox.sh
	touch $(STAMP)

toolchains: $(STAMP)
	sh scripts/install-toolchains.sh $(BIN)/python

ablate: $(STAMP)
	$(BIN)/fusebench ablate quickstart

# Shapes are checked where no compiled kernel stands behind them: numba cannot cache a checked function.
SHAPES := fusebench.artifacts,fusebench.corpus,fusebench.teach,fusebench.train,beartype.beartype

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --jaxtyping-packages=$(SHAPES)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m bench $(if $(LARGE),--large $(LARGE)) $(if $(MODEL),--model $(MODEL))

clean:
	rm -rf $(VENV) runs build dist *.egg-info
