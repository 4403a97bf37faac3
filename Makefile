# Every command of this project. `make help` explains them; CI calls the same ones.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

# Tools live in the clone, one environment each: SAM CLI, the emulator and the Lambda runtime pin different botocores.
export UV_PROJECT_ENVIRONMENT ?=
UV := .tools/uv/bin/uv
UV_VERSION := 0.13.9

.tools/uv/bin/uv:
	@echo "fetching uv $(UV_VERSION)" >&2
	@rm -rf .tools/uv && mkdir -p .tools
	@python3 -m venv .tools/uv || { echo "python3 cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@.tools/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# $(call environment,GROUP): an environment that holds that dependency group and nothing else
environment = @echo "fetching: $(1)" >&2; UV_PROJECT_ENVIRONMENT=.tools/$(1) $(UV) sync --quiet --frozen --only-group $(1) && touch $@

.tools/%/ready: uv.lock $(UV)
	$(call environment,$*)
