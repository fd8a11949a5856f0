# Each target does what it needs first, set-up included: `make demo` and `make test` work on a fresh clone.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv dashboard demo ui ui-test check test test-all bench chaos clean docs docs-serve

BIN := .venv/bin
READY := .venv/.ready
BENCH_READY := .venv/.ready-bench
DOCS_READY := .venv/.ready-docs
UI := api/ui
UI_READY := $(UI)/node_modules/.ready
UI_BUILT := api/ui_dist/index.html
UI_SOURCES := $(shell find $(UI)/src $(UI)/public $(UI)/*.html $(UI)/*.ts $(UI)/*.json -type f -not -name openapi.json)

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

venv: $(READY) ## set up .venv and nothing else

# torch goes first and alone, so that pip settles its build (CPU or CUDA) before the rest depends on it.
$(READY): pyproject.toml
	@for candidate in python3.11 python3 python3.12; do \
	    if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; \
	    then python=$$candidate; break; fi; \
	done; \
	if [ -z "$${python:-}" ]; then \
	    echo "Tumbler needs Python 3.11 or 3.12, and none was found on the PATH: install python3.11." >&2; exit 1; \
	fi; \
	echo "==> .venv with $$("$$python" --version)"; "$$python" -m venv .venv
	@echo "==> torch (the longest part: a minute or more)"; $(BIN)/pip install -q 'torch~=2.13.0'
	@echo "==> tumbler and its tools"; $(BIN)/pip install -q -e '.[dev]'
	@touch $@

$(BENCH_READY): $(READY)
	@echo "==> the benchmarks' peers"; $(BIN)/pip install -q -e '.[bench]'
	@touch $@

# The dashboard is built where npm is. Where it is not, or the build fails, the service shows a plain page.
dashboard:
	@if ! command -v npm >/dev/null; then echo "==> no npm here: the service shows a plain page instead of its dashboard"; \
	elif ! $(MAKE) --no-print-directory ui; then echo "==> the dashboard could not be built: all else goes on" >&2; fi

demo: $(READY) dashboard ## a real run with a kill in the middle, and its summary
	@$(BIN)/tumbler demo

ui: $(UI_BUILT) ## build the dashboard that the service shows at /

$(UI_BUILT): $(UI)/src/api/schema.d.ts $(UI_SOURCES)
	@echo "==> types of the dashboard"; npm --prefix $(UI) run --silent check
	@echo "==> the dashboard"; npm --prefix $(UI) run --silent build

ui-test: $(UI)/src/api/schema.d.ts ## types and tests of the dashboard
	@npm --prefix $(UI) run --silent check
	@npm --prefix $(UI) run --silent test

$(UI_READY): $(UI)/package-lock.json
	@command -v npm >/dev/null || { \
	    echo "The dashboard is built with npm, and none was found: install Node.js 20.19, or 22.12 or later." >&2; exit 1; }
	@echo "==> the dashboard's packages"; npm --prefix $(UI) ci --loglevel=error --no-audit --no-fund
	@touch $@

# The types of the dashboard are those of the service as it is.
$(UI)/src/api/schema.d.ts: $(READY) $(UI_READY) $(wildcard api/service/*.py api/service/routes/*.py)
	@$(BIN)/python -m api.schema > $(UI)/openapi.json
	@npm --prefix $(UI) run --silent types

check: $(READY) ## format, lint, types, layers and all unit tests but the slow ones, in under a minute
	@echo "==> format and lint"; $(BIN)/ruff format --quiet --check . && $(BIN)/ruff check --quiet .
	@echo "==> types"; $(BIN)/mypy --no-error-summary
	@echo "==> layers"; $(BIN)/lint-imports --config pyproject.toml >.venv/layers.log || { cat .venv/layers.log; exit 1; }
	@echo "==> unit tests"; $(BIN)/python -m pytest tests/unit -n 2 -q -m "not slow"

test: dashboard check ## check, then the tests that start Ray but for the longest: about a quarter of an hour
	@echo "==> slow unit tests"; $(BIN)/python -m pytest tests/unit -n 2 -q -m slow
	@echo "==> integration tests"; $(BIN)/python -m pytest tests/integration -q -m "not long and not soak"

test-all: dashboard check docs ## check, the documents, then the tests that start Ray; what CI runs
	@if command -v npm >/dev/null; then echo "==> tests of the dashboard"; $(MAKE) --no-print-directory ui-test; fi
	@echo "==> slow unit tests"; $(BIN)/python -m pytest tests/unit -n 2 -q -m slow
	@echo "==> integration tests, the long ones too"; $(BIN)/python -m pytest tests/integration -q -m "not soak"

chaos: $(READY) ## kill service, head, driver, GCS and workers again and again; takes an hour or so
	@echo "==> the longest integration tests"; $(BIN)/python -m pytest tests/integration -q -m soak
	@echo "==> chaos tests"; $(BIN)/python -m pytest tests/chaos -q -s

bench: $(BENCH_READY) ## every benchmark, Tumbler beside its peers
	@for name in $$($(BIN)/python -m benchmarks --list); do \
	    echo "==> $$name"; $(BIN)/python -m benchmarks "$$name" --json; \
	done

$(DOCS_READY): $(READY)
	@echo "==> mkdocs"; $(BIN)/pip install -q -e '.[docs]'
	@touch $@

docs: $(DOCS_READY) ## write the pages that come from the code, and build all of them into site/
	@for page in spec cli rest errors; do $(BIN)/python docs/make_$${page}_page.py; done
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict && echo "==> site/index.html"

docs-serve: $(DOCS_READY) ## show the documents at http://127.0.0.1:8001 while you edit them
	@$(BIN)/mkdocs serve --dev-addr 127.0.0.1:8001

clean: ## remove what the targets above made
	rm -rf api/ui_dist api/ui/node_modules api/ui/openapi.json api/ui/src/api/schema.d.ts
	rm -rf .venv build dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
