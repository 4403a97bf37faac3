# Every command of this project; `make help` explains them, CI calls the same ones.
# Variables: STACK (name of a stack, or local: the one that make serve runs), PARAMETERS ("LocationId=… AlarmEmail=…"),
# CONFIG_ENV (an environment of samconfig.toml: it names the stack, and brings parameters of its own).
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

CONFIG_ENV ?= default
STACK ?= highlevel-conversations$(if $(filter-out default,$(CONFIG_ENV)),-$(CONFIG_ENV))
PARAMETERS ?=

# uv and SAM look for Python 3.13 on PATH; a pyenv that is not set up for this shell has it here.
export PATH := $(PATH)$(addprefix :,$(lastword $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.13*/bin)))

# Tools live in the clone, one environment each: SAM CLI, the emulator and the Lambda runtime pin different botocores.
UV := .tools/uv/bin/uv
UV_VERSION := 0.13.9
SAM := PATH="$(CURDIR)/.tools/sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 sam
OPERATE := PYTHONPATH=functions .tools/operate/bin/python -m

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##### Try it, on this machine alone

.PHONY: run
run: .tools/local/ready .tools/sam/ready .tools/emulator/ready .tools/runtime/ready ## Deploy to a local AWS, send every sample event, show what became of it
	@PYTHONPATH=functions exec .tools/local/bin/python -m local.run

.PHONY: serve
serve: .tools/local/ready .tools/sam/ready .tools/emulator/ready .tools/runtime/ready ## The same, and stay; prints a curl line to paste
	@PYTHONPATH=functions exec .tools/local/bin/python -m local.serve

##### Deploy and operate

.PHONY: deploy
deploy: .tools/sam/ready .tools/operate/ready ## Build and deploy to AWS, no questions asked   [STACK=… PARAMETERS="LocationId=…" CONFIG_ENV=production]
	@$(OPERATE) operate.check_senders
	@options=$$($(OPERATE) operate.check_deploy --stack="$$STACK" --config-env="$$CONFIG_ENV" --parameters="$$PARAMETERS") || exit; \
	eval "set -- $$options"; \
	$(SAM) build --config-env "$$CONFIG_ENV" "$$@" && \
	$(SAM) deploy --config-env "$$CONFIG_ENV" --stack-name "$$STACK" "$$@"

# By the environment: a value with quotation marks or blanks reaches the check as it was typed.
deploy: export STACK := $(STACK)
deploy: export CONFIG_ENV := $(CONFIG_ENV)
deploy: export PARAMETERS := $(PARAMETERS)

.PHONY: token
token: .tools/operate/ready ## Try HighLevel's token, typed without echo, store it [STACK=… LOCATION=… FORCE=1]
	@$(OPERATE) operate.store_token $(STACK) $(if $(LOCATION),--location '$(LOCATION)') $(if $(FORCE),--force)

.PHONY: connect
connect: .tools/operate/ready ## Connect with HighLevel by OAuth, on the terminal  [STACK=…]
	@$(OPERATE) operate.connect $(STACK)

.PHONY: sender
sender: .tools/operate/ready ## Make or rotate a sender's secret, print its URL   [STACK=… NAME=typeform GIVEN=1 RETIRE=1]
	@$(OPERATE) operate.sender $(STACK) '$(NAME)' $(if $(GIVEN),--given) $(if $(RETIRE),--retire)

.PHONY: send
send: .tools/operate/ready ## Fire a sender's sample, signed                   [STACK=… SENDER=typeform LOCATION=…]
	@$(OPERATE) operate.send $(STACK) '$(SENDER)' $(if $(LOCATION),--location '$(LOCATION)')

.PHONY: doctor
doctor: .tools/operate/ready ## What would stop a submission, and what to do     [STACK=… LOCATION=…]
	@$(OPERATE) operate.doctor $(STACK) $(if $(LOCATION),--location '$(LOCATION)')

.PHONY: logs
logs: .tools/operate/ready ## The canonical lines, live                       [STACK=… CONTACT=… REQUEST=… REASON=… SINCE=15m]
	@$(OPERATE) operate.logs $(STACK) $(if $(CONTACT),--contact $(CONTACT)) $(if $(REQUEST),--request $(REQUEST)) $(if $(REASON),--reason $(REASON)) $(if $(SINCE),--since $(SINCE))

.PHONY: dead-letters
dead-letters: .tools/operate/ready ## What a person must mend, and why                [STACK=… ID=…]
	@$(OPERATE) operate.dead_letters $(STACK) $(if $(ID),--id $(ID))

.PHONY: redrive
redrive: .tools/operate/ready ## Try dead letters again                          [STACK=… REASON=… SENDER=… WAIT=120]
	@$(OPERATE) operate.redrive $(STACK) $(if $(REASON),--reason '$(REASON)') $(if $(SENDER),--sender '$(SENDER)') $(if $(WAIT),--wait '$(WAIT)')

##### Develop

# Those marked `alone` measure, or fill the machine. Of the others the longest are in tests/chaos: they begin.
.PHONY: test
test: .venv/ready .tools/sam/ready .tools/emulator/ready .tools/runtime/ready ## All tests                                        [TESTS=tests/unit]
ifdef TESTS
	@.venv/bin/pytest $(TESTS)
else
	@.venv/bin/pytest tests/unit tests/contract -m 'not alone' --numprocesses 2
	@.venv/bin/pytest tests/chaos tests/integration -m 'not alone' --numprocesses 3 --dist loadfile --no-loadscope-reorder
	@.venv/bin/pytest -m alone
endif

.PHONY: pictures
pictures: .venv/ready .tools/sam/ready .tools/emulator/ready .tools/runtime/ready ## The README's screenshots anew, by the page's test
	@SCREENSHOTS=docs .venv/bin/pytest tests/integration/test_page.py -k test_pictures

.PHONY: check
check: .venv/ready .tools/sam/ready ## Lint, types, template, locked requirements
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@PYTHONPATH=functions .venv/bin/python -m operate.check_senders
	@AWS_DEFAULT_REGION=us-east-1 $(SAM) validate --lint
	@.venv/bin/cfn-lint --include-checks I3011 --append-rules cfn_lint_serverless.rules --template template.yaml
	@$(UV) lock --check --quiet
	@diff <($(EXPORT)) functions/requirements.txt || { echo "functions/requirements.txt is not what uv.lock says: make requirements" >&2; exit 1; }

.PHONY: bench
bench: .tools/bench/ready .tools/sam/ready .tools/runtime/ready .tools/figures/ready ## Measure it beside its peers; docs/benchmarks.md [ROUNDS=3 REVERSE=1 TLS=1]
	@PYTHONPATH=functions .tools/bench/bin/python -m benchmarks $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(REVERSE),--reverse) $(if $(TLS),--tls)

.PHONY: chaos
chaos: .venv/ready .tools/sam/ready .tools/emulator/ready .tools/runtime/ready .tools/figures/ready ## Load with faults, every seam, hostile input; docs/reliability.md [SIZE=0.05]
	@PYTHONPATH=functions exec .venv/bin/python -m tests.chaos $(SIZE)

.PHONY: simulate
simulate: .venv/ready ## Days of faults in virtual time: what becomes of the retry queue [SCENARIO="outage drain" WAITING=100 SEED=1 HOURS=…]
	@PYTHONPATH=functions SCENARIO='$(SCENARIO)' WAITING='$(or $(WAITING),100)' SEED='$(or $(SEED),1)' HOURS='$(HOURS)' exec .venv/bin/python -m tests.simulation

.PHONY: requirements
requirements: $(UV) ## Write functions/requirements.txt from uv.lock
	@$(EXPORT) > functions/requirements.txt

EXPORT = $(UV) export --quiet --frozen --no-default-groups --no-emit-project --no-header --no-annotate

##### Tools

# From `/`, so that a pyenv that lacks the version in .python-version still offers some python3.
$(UV):
	@echo "fetching uv" >&2
	@rm -rf .tools/uv && mkdir -p .tools
	@cd / && python3 -m venv "$(CURDIR)/.tools/uv" || { echo "python3 cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.tools/%/ready: uv.lock .python-version | $(UV)
	@echo "fetching the tools of: $*" >&2
	@VIRTUAL_ENV= UV_PROJECT_ENVIRONMENT=.tools/$* $(UV) sync --quiet --frozen $(if $(filter runtime,$*),--compile-bytecode) --only-group $*
	@touch $@

.venv/ready: uv.lock .python-version | $(UV)
	@echo "fetching the tools of: dev" >&2
	@VIRTUAL_ENV= UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --quiet --frozen
	@touch $@
