# `make figures` and `make test` are all a user needs: each does the set-up first, and a second call is a no-op.
PYTHON ?= python3
VENV   ?= .venv
CORES  ?= all
STAMP  := $(VENV)/.installed
BIN    := $(VENV)/bin
WITH   := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: setup figures test test-long lock publish
.DEFAULT_GOAL := figures

setup: $(STAMP)

# The stamp depends on what defines the environment, so a changed lock reinstalls and nothing else does.
$(STAMP): requirements.in constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"python >= 3.11 needed, got {sys.version.split()[0]}: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	@echo "setup: installing the locked environment into $(VENV) (2 to 3 minutes, 2 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements.in setuptools
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@touch $@

figures: $(STAMP)
	@$(WITH) reprise plan --brief
	@$(WITH) snakemake --cores $(CORES) all

test: $(STAMP)
	@$(WITH) pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder -m "not long" tests

test-long: $(STAMP)
	@$(WITH) pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder tests

# Maintainers: refresh published/, the DVC remote inside the repository, from the figures at hand.
publish: $(STAMP)
	@$(WITH) workflow/publish.sh

# Maintainers: refresh the lock. No find-links, so that it says torch==X, which fits CPU and CUDA machines alike.
lock:
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv
	.venv-lock/bin/uv pip compile requirements.in -o constraints.txt --universal --python-version 3.11 --no-annotate --no-header --upgrade
