# vmm: every target may be the first command typed on Debian 12 with Python 3.11, git and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test unit e2e explore check bench bench-plan clean test-packages

BIN := .venv/bin
META := setup.cfg pyproject.toml scripts/setup-venv.sh
# What the end-to-end tests run: hypervisor, batch system, network namespaces, image tools.
TEST_PACKAGES := libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils \
	slurm-wlm munge iproute2 e2fsprogs util-linux

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: .venv/.vmm-core   ## make .venv with the command vmm in it
	@echo "vmm: ready: $(BIN)/vmm"

.venv/.vmm-core: $(META)
	@scripts/setup-venv.sh $@

.venv/.vmm-dev: $(META)
	@scripts/setup-venv.sh $@ dev
	@touch .venv/.vmm-core

.venv/.vmm-test: $(META)
	@scripts/setup-venv.sh $@ dev libvirt
	@touch .venv/.vmm-core .venv/.vmm-dev

.venv/.vmm-bench: $(META)
	@scripts/setup-venv.sh $@ dev libvirt bench
	@touch .venv/.vmm-core .venv/.vmm-dev .venv/.vmm-test

test-packages:
	@scripts/setup-packages.sh $(TEST_PACKAGES)

demo: .venv/.vmm-core   ## a cluster on this machine for 60 s (DEMO_S=seconds); no root, no hypervisor
	@DEMO_S="$(or $(DEMO_S),60)" $(BIN)/vmm demo

test: test-packages .venv/.vmm-test   ## everything: unit, process and end-to-end tests (installs what they need)
	@scripts/run-tests.sh $(PYTEST_ARGS)

unit: test-packages .venv/.vmm-test   ## the unit tests alone
	@$(BIN)/pytest -n 4 -m "not e2e and not root and not slow and not processes" $(PYTEST_ARGS)

e2e: test-packages .venv/.vmm-test   ## the end-to-end tests alone (root)
	@$(BIN)/pytest -m e2e $(PYTEST_ARGS)

explore: test-packages .venv/.vmm-test   ## property tests on random examples that no run has seen before
	@$(BIN)/pytest -m "not e2e and not processes" --hypothesis-profile=explore $(PYTEST_ARGS)

check: .venv/.vmm-dev   ## style, types and floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

bench: .venv/.vmm-bench   ## ratios against peers and baselines, all rooms but planning
	@for file in bench/bench_*.py; do \
		[ -e "$$file" ] || continue; \
		[ "$$file" != bench/bench_plan.py ] || continue; \
		echo "== $$file"; $(BIN)/python "$$file"; \
	done

bench-plan: .venv/.vmm-bench   ## planning against ganeti-htools (INPUTS=directory of given clusters)
	@scripts/setup-packages.sh ganeti-htools
	@$(BIN)/python bench/bench_plan.py $(if $(INPUTS),--inputs "$(INPUTS)")

# What the tests that run as root leave in .build is root's.
clean:           ## remove what was built (.build, caches, *.egg-info) and .venv
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@rm -rf .build 2>/dev/null || bash -c ". scripts/common.sh; as_root rm -rf .build"
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
