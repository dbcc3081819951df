# Every verb does its own set-up; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := .make

# What the compiled extensions are made of: a change here rebuilds them.
NATIVE := $(wildcard native/*.pyx native/*.pxd native/core/* benchmarks/*.pyx benchmarks/core/*)

.DEFAULT_GOAL := help
.PHONY: help build run test bench load calls check asan clean browser postgres

help:  ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1|/' | awk -F'|' '{printf "  make %-8s %s\n", $$1, $$2}'

$(STAMP)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "relay needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); if [ "$$(id -u)" = 0 ]; then echo "installing python3-venv from Debian's packages ..." && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv python3-dev libc6-dev >/dev/null && $(PYTHON) -m venv $(VENV); else echo "The venv module is missing. On Debian: sudo apt-get install python3-venv python3-dev"; exit 1; fi; }
	@$(PY) -m pip install -q --disable-pip-version-check --upgrade pip setuptools wheel
	@mkdir -p $(STAMP) && touch $@

$(STAMP)/build: $(STAMP)/venv pyproject.toml $(NATIVE)
	@command -v gcc >/dev/null || { echo "gcc is missing. On Debian: apt-get install gcc"; exit 1; }
	@$(PY) -c 'import sysconfig, os, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || { if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq python3-dev libc6-dev; else echo "Python.h is missing. On Debian: apt-get install python3-dev libc6-dev"; exit 1; fi; }
	@echo "building into $(VENV) ..." && $(PY) -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

build: $(STAMP)/build  ## compile the extensions into .venv

run: build  ## start a node with the demo page on 127.0.0.1:8080
	@exec $(VENV)/bin/relay serve --demo $(ARGS)

browser:
	@command -v chromium >/dev/null || { if [ "$$(id -u)" = 0 ]; then echo "installing Chromium from Debian's packages ..." && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; else echo "The browser tests need Chromium. On Debian: sudo apt-get install chromium"; exit 1; fi; }

postgres:
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || { if [ "$$(id -u)" = 0 ]; then echo "installing PostgreSQL from Debian's packages ..." && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; else echo "The store's tests need PostgreSQL. On Debian: sudo apt-get install postgresql"; exit 1; fi; }

test: build browser postgres  ## run every test
	@$(PY) -m pytest $(ARGS)

bench: build  ## run the micro-benchmarks
	@$(PY) -m pytest benchmarks --benchmark-enable --benchmark-only --benchmark-json=benchmarks/out/micro.json $(ARGS)

load: build  ## run the load test and write its report into benchmarks/out
	@$(PY) -m benchmarks.load $(ARGS)

calls: build  ## run the load test of the call plane
	@$(PY) -m benchmarks.calls $(ARGS)

# C warnings are errors here and only here, so that a newer compiler never breaks an installation.
check: build  ## format, lint, types and C warnings, all as errors
	@$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint native benchmarks
	@for f in $$(find native/core benchmarks/core -name '*.c' 2>/dev/null); do gcc -std=gnu11 -O2 -Wall -Wextra -Wconversion -Wno-sign-conversion -Wshadow -Werror -fsyntax-only -Inative/core -Ibenchmarks/core $$f || exit 1; done
	@echo "check: all clean"

asan: build  ## run the native tests under address and undefined-behaviour sanitizers
	@rm -rf $(STAMP)/asan && mkdir -p $(STAMP)/asan
	@CFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer" LDFLAGS="-fsanitize=address,undefined" $(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --target $(STAMP)/asan .
	@cd $(STAMP)/asan && LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc PYTHONPATH=. ../../$(PY) -m pytest -p no:cacheprovider -c ../../pyproject.toml --rootdir ../.. ../../tests/native $(ARGS)

clean:  ## remove everything that was built
	@rm -rf $(VENV) $(STAMP) build *.egg-info benchmarks/out/*.json benchmarks/out/*.png .pytest_cache .mypy_cache .ruff_cache
	@find native benchmarks -maxdepth 1 \( -name '*.so' -o -name '*.c' \) -delete
