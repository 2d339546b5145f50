# Orbitune: everything a person runs by hand. `make` alone lists it.
#
# Each target builds what it needs in .venv once and reuses it; another Python: PYTHON=python3.12 make demo

PYTHON ?= python3
TEST_PROCESSES ?= 2
VENV   := .venv
BIN    := $(VENV)/bin
# Errors and nothing below them: a machine with odd index settings gets a page of warnings otherwise.
PIP    := $(BIN)/python -m pip --disable-pip-version-check install -qq

TORCH  := $(VENV)/.torch-installed
TRAIN  := $(VENV)/.train-installed
DEV    := $(VENV)/.dev-installed
BENCH  := $(VENV)/.bench-installed

BENCHES := $(sort $(filter-out record random_missions strategy_trials split_worker,$(basename $(notdir $(wildcard benchmarks/*.py)))))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all check bench clean $(BENCHES:%=bench-%)

help:
	@echo "make demo    set up, then fine-tune a real model over a real constellation and write the report"
	@echo "make test    every test: laws, outside references, imports, types, style"
	@echo "make test-all  the same and every row of the equality table of split training, which takes minutes more"
	@echo "make check   style, types, import contracts, and the length of functions, without the other tests"
	@echo "make bench   every benchmark; each prints a table and writes benchmarks/out/NAME.json"
	@for name in $(BENCHES); do echo "make bench-$$name"; done
	@echo "make clean   remove what make made (.venv, caches, benchmarks/out); runs/ stays"
	@echo
	@echo "Another Python (3.11 or later): PYTHON=python3.12 make demo"

demo: $(TRAIN)
	@$(BIN)/orbitune demo

test: $(DEV)
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal

test-all: $(DEV)
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal -m ""

check: $(DEV)
	@failed=; \
	$(BIN)/ruff check                        || failed="$$failed ruff-check"; \
	$(BIN)/ruff format --check               || failed="$$failed ruff-format"; \
	$(BIN)/mypy                              || failed="$$failed mypy"; \
	$(BIN)/lint-imports --no-logo             || failed="$$failed import-contracts"; \
	$(BIN)/python scripts/function_sizes.py  || failed="$$failed function-sizes"; \
	if [ "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

bench: $(BENCHES:%=bench-%)

$(BENCHES:%=bench-%): bench-%: $(BENCH)
	@$(BIN)/python benchmarks/$*.py

clean:
	rm -rf $(VENV) build dist benchmarks/out .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find orbitune tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone: whatever is installed after it finds the one version that constraints.txt names.
$(TORCH): constraints.txt
	@scripts/require_python $(PYTHON)
	@$(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV), once: $$(grep '^torch' $<) first, which takes a minute or two"
	@$(PIP) -r $<
	@touch $@

$(TRAIN): $(TORCH) pyproject.toml
	@echo "installing orbitune with its training extra"
	@$(PIP) -c constraints.txt -e '.[train]'
	@touch $@

$(DEV): $(TORCH) pyproject.toml
	@echo "installing orbitune with its training and development extras"
	@$(PIP) -c constraints.txt -e '.[train,dev]'
	@touch $@ $(TRAIN)

$(BENCH): $(DEV)
	@echo "installing what the benchmarks are measured against"
	@$(PIP) -c constraints.txt -e '.[bench]'
	@touch $@
