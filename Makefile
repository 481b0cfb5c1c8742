# make demo   finds a person again in real pictures, and measures all three modes; installs what it needs (no PyTorch)
# make test   lint, types and tests; installs PyTorch, too
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PHOTOS ?= docs/pictures/samples
PHOTO  ?= $(PHOTOS)/17790319373_bd19b24cfc_k.jpg
PROBE  ?= $(PHOTOS)/store_aisle/0000.jpg@240,63,80,168
OUT    ?= out

.PHONY: demo test lint browser format export-edge export-paper clean

demo: $(VENV)/.demo
	@mkdir -p $(OUT)
	$(BIN)/mgts-trt parity
	$(BIN)/mgts-trt search --query $(PROBE) --gallery $(PHOTOS) --top 11 --sheet $(OUT)/search.jpg
	$(BIN)/mgts-trt bench --image $(PHOTO) --people 8 --runs 10 \
	    --json $(OUT)/bench.json --plot $(OUT)/bench.png --picture $(OUT)/demo.jpg
	@echo "Look at $(OUT)/search.jpg, $(OUT)/demo.jpg and $(OUT)/bench.png"

test: lint browser
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

browser: $(VENV)/.dev
	@$(BIN)/python -m tests.helpers.browser

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

export-edge: $(VENV)/.dev
	$(BIN)/python -m export --preset edge --out bundle --force

export-paper: $(VENV)/.dev
	$(BIN)/python -m export --preset paper --out bundle-paper --force
	$(BIN)/mgts-trt build bundle-paper

clean:
	rm -rf $(VENV) $(OUT) .mypy_cache .ruff_cache .pytest_cache .hypothesis bundle/plans

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[plot]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.demo
