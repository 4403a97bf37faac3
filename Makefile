# What a developer of this project does. `make help` lists it; CI uses the same commands. What an operator of a stack does:
# ./hlc --help.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

# uv and SAM look for Python 3.13 on PATH. A pyenv that is not set up for this shell has it here.
export PATH := $(PATH)$(addprefix :,$(lastword $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.13*/bin)))

# Tools are installed in the clone, each in its own environment: SAM CLI, emulator and Lambda runtime pin different botocores.
UV := .tools/uv/bin/uv
UV_VERSION := 0.13.9
SAM := PATH="$(CURDIR)/.tools/sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 sam

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A target that does not exist, perhaps a command of ./hlc.
OPERATOR := deploy delete verify token connect sender send doctor logs dead-letters redrive pause resume
.DEFAULT:
	@echo "there is no target $@: $(if $(filter $@,$(OPERATOR)),it is a command: ./hlc $@,make help lists the targets, ./hlc --help the commands)" >&2; exit 2

##### Try it on this machine

.PHONY: run
run: .tools/local/ready .tools/sam/ready .tools/emulator/ready .tools/runtime/ready ## Deploy to a local AWS, send every sample and show each outcome
	@PYTHONPATH=functions PYTHONUTF8=1 exec .tools/local/bin/python -m local.run

.PHONY: serve
serve: .tools/local/ready .tools/sam/ready .tools/emulator/ready .tools/runtime/ready ## Run on this machine until Ctrl-C, with a page to try it [PORT=8080]
	@PYTHONPATH=functions PYTHONUTF8=1 exec .tools/local/bin/python -m local.serve

##### Develop

# A file runs in one process, because its tests share a stack; five files at a time keep two processors busy.
# tests/conftest.py orders them.
.PHONY: test
test: .venv/ready .tools/sam/ready .tools/emulator/ready .tools/runtime/ready ## Run all tests                                      [TESTS=tests/unit]
	@.venv/bin/pytest $(or $(TESTS),--numprocesses 5 --dist loadfile --no-loadscope-reorder)

.PHONY: test-quick
test-quick: .venv/ready .tools/sam/ready .tools/runtime/ready ## Run the tests of 3 minutes: no local AWS, none that is slow
	@.venv/bin/pytest tests/unit tests/contract tests/simulation -m 'not slow' --numprocesses 3

.PHONY: screenshots
screenshots: .venv/ready .tools/sam/ready .tools/emulator/ready .tools/runtime/ready ## Take the README's screenshots again
	@SCREENSHOTS=docs .venv/bin/pytest tests/integration/test_page.py -k test_screenshots

.PHONY: check
check: .venv/ready .tools/sam/ready ## Check style, types, words, template and requirements
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/python .ci/check_vocabulary.py
	@PYTHONPATH=functions .venv/bin/python -m cli sender check
	@AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint
	@.venv/bin/cfn-lint --include-checks I3011 --append-rules cfn_lint_serverless.rules --template template.yaml
	@$(UV) lock --check --quiet
	@diff <($(EXPORT)) functions/requirements.txt || { echo "functions/requirements.txt differs from uv.lock: make requirements" >&2; exit 1; }

.PHONY: bench
bench: .tools/bench/ready .tools/sam/ready .tools/runtime/ready .tools/figures/ready ## Benchmark it against its peers; docs/benchmarks.md [ROUNDS=3 TLS=1]
	@PYTHONPATH=functions .tools/bench/bin/python -m benchmarks $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(TLS),--tls)

.PHONY: chaos
chaos: .venv/ready .tools/sam/ready .tools/emulator/ready .tools/runtime/ready .tools/figures/ready ## Load with faults, crash points, fuzzing; docs/reliability.md [SIZE=0.05]
	@PYTHONPATH=functions exec .venv/bin/python -m tests.chaos $(SIZE)

.PHONY: simulate
simulate: .venv/ready ## Simulate days of faults in virtual time            [SCENARIO="outage drain" WAITING=100 SEED=1 HOURS=…]
	@PYTHONPATH=functions SCENARIO='$(SCENARIO)' WAITING='$(or $(WAITING),100)' SEED='$(or $(SEED),1)' HOURS='$(HOURS)' exec .venv/bin/python -m tests.simulation

.PHONY: requirements
requirements: $(UV) ## Write functions/requirements.txt from uv.lock
	@$(EXPORT) > functions/requirements.txt

EXPORT = $(UV) export --quiet --frozen --no-default-groups --no-emit-project --no-header --no-annotate

##### Tools

$(UV):
	@sh .ci/tools.sh uv $(UV_VERSION)

.tools/%/ready: uv.lock .python-version | $(UV)
	@sh .ci/tools.sh sync $* .tools/$* $(if $(filter runtime,$*),--compile-bytecode) --only-group $*
	@touch $@

.venv/ready: uv.lock .python-version | $(UV)
	@sh .ci/tools.sh sync dev .venv
	@touch $@
