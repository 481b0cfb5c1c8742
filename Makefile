# make demo   finds a person again in real pictures, and measures all three modes; installs what it needs (no PyTorch)
# make check  lint, types and the quick tests that need no PyTorch, in about three minutes: what to run while you work
# make dist   both wheels, the product and the demonstration's bundle, into dist/
# make test   lint, types and all tests; installs PyTorch, too
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PHOTOS ?= docs/pictures/samples
PHOTO  ?= $(PHOTOS)/17790319373_bd19b24cfc_k.jpg
PROBE  ?= $(PHOTOS)/store_aisle/0000.jpg@240,63,320,231
OUT    ?= out
DIST   ?= dist
# What Python compiles is kept: tests begin hundreds of processes, each of which would compile it anew.
unexport PYTHONDONTWRITEBYTECODE
# A process for each core, each of one thread where a library asks: two threads on one core wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

.NOTPARALLEL: # two would install into one environment at once
.PHONY: demo check test lint pictures operators browser bindings bounds format dist export-edge export-paper clean

demo: $(VENV)/.demo
	@mkdir -p $(OUT)
	$(BIN)/mgts-trt parity
	$(BIN)/mgts-trt search --query $(PROBE) --gallery $(PHOTOS) --top 11 --sheet $(OUT)/search.jpg
	$(BIN)/mgts-trt bench --image $(PHOTO) --runs 10 \
	    --json $(OUT)/bench.json --plot $(OUT)/bench.png --picture $(OUT)/demo.jpg
	@echo "Look at $(OUT)/search.jpg, $(OUT)/demo.jpg and $(OUT)/bench.png"

# --no-torch makes PyTorch unimportable, so that the same tests run where it is installed and where it is not.
check: lint bindings
	$(PYTEST) --no-torch -m "not slow"

test: $(VENV)/.dev lint browser bindings
	$(PYTEST)

lint: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	# 3.10 cannot be run here; NumPy's newest stubs are not for it. Each version has a cache of its own: both at once.
	@echo mypy, for two versions of Python; $(BIN)/mypy --python-version 3.10 --no-warn-return-any & $(BIN)/mypy; \
	    ours=$$?; wait $$! && exit $$ours
	$(BIN)/vermin --quiet --no-tips --target=3.10- --violations mgts_trt

pictures: $(VENV)/.check
	$(BIN)/python -m docs.pictures.make

operators: $(VENV)/.check
	$(BIN)/python -m mgts_trt.bundle.cpu_forms

browser: $(VENV)/.dev
	@$(BIN)/python -m tests.helpers.browser

bindings: $(VENV)/.check
	@$(BIN)/python -m tests.helpers.fetched

bounds: $(VENV)/.check
	@$(BIN)/python -m tests.helpers.bounds

format: $(VENV)/.check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: | $(BIN)/python
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(DIST) . ./bundle

export-edge: $(VENV)/.dev
	$(BIN)/python -m export --preset edge --out bundle --force

export-paper: $(VENV)/.dev
	$(BIN)/python -m export --preset paper --out bundle-paper --force
	$(BIN)/mgts-trt build bundle-paper

clean:
	rm -rf $(VENV) $(OUT) $(DIST) .mypy_cache .ruff_cache .pytest_cache .hypothesis bundle/plans

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[plot]'
	@touch $@

$(VENV)/.check: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[check]'
	@touch $@ $(VENV)/.demo

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.check $(VENV)/.demo
