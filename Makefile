# `make help` lists what there is. PYTHON chooses the interpreter of .venv; PIP_* variables reach pip.

PYTHON ?= python3
# The interpreters that the tests also run on, where the machine has them.
OTHERS ?= 3.9 3.11 3.13
# The PyPy that `make test-pypy` runs on, and how to install there: gevent has no wheel for PyPy; of the others that are
# written in C or Rust, only what needs no compiler.
PYPY ?= pypy3
PYPY_INSTALLS := --only-binary cryptography,cffi --editable '.[tornado,twisted]' --group test
EXTRAS := tornado,twisted,gevent
BIN := .venv/bin
# What the rest stands on, and its tests; at least so many of its branches and lines are covered, in per cent.
CORE := pika/spec.py,pika/data.py,pika/frame.py,pika/_shape.py,pika/protocol/*
CORE_TESTS := tests/protocol tests/test_data.py tests/test_frame.py tests/test_shape.py tests/test_spec.py
CORE_COVERAGE := 97
# How many tests run at once: most of them wait for something most of the time. A file's tests share its brokers, and
# the files are taken in their order, in which the longest ones come early.
WORKERS ?= 4
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Which of the real programs to check: all of them.
PROGRAMS ?=
# Options of both benchmarks, for example --docs, which writes the figures into the documentation.
BENCH ?=

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help test test-main test-others test-pypy rabbitmq check lint types pyright layers generated docs format bench where flatness fuzz torture contract programs clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

test: PREPARE = "tools/test_others --prepare $(EXTRAS) $(OTHERS)"
test: test-main test-others  ## run all tests, here and on the other interpreters found; needs nothing but python3

test-main: .venv/.installed-test rabbitmq  ## run all tests on the main interpreter, those of the core with coverage
	$(BIN)/coverage erase
	@tools/beside $(PREPARE) "$(BIN)/coverage run -m pytest -q $(CORE_TESTS)" \
		"$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) $(addprefix --ignore=,$(CORE_TESTS))"
	$(BIN)/coverage report --include='$(CORE)' --fail-under=$(CORE_COVERAGE)

test-others: .venv/.installed-test rabbitmq  ## run all but the slow tests on the other interpreters found
	@tools/test_others "$(SIDE_BY_SIDE)" $(EXTRAS) $(OTHERS)

test-pypy: .venv-pypy/.installed rabbitmq  ## run all but the slow tests on PyPy: about half an hour
	.venv-pypy/bin/python -m pytest -q $(SIDE_BY_SIDE) -m "not slow"

rabbitmq: .venv/.installed-test
	@tools/ensure_rabbitmq

check: lint types layers generated docs  ## all of lint, types, layers, generated, docs

lint: .venv/.installed-dev  ## see whether the code is clean and formatted
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .

types: .venv/.installed-dev  ## see whether the types are right
	$(BIN)/mypy

pyright: .venv-pyright/.installed  ## see whether programs that are typed strictly pass Pyright too; needs the network once
	.venv-pyright/bin/pyright --project tests/typed

layers: .venv/.installed-dev  ## see whether imports point down
	$(BIN)/lint-imports

generated: .venv/.installed-dev  ## see whether generated files are fresh
	$(BIN)/python tools/generate_spec.py --check
	$(BIN)/python tools/generate_operations.py --check
	$(BIN)/python tools/draw_states.py --check

docs: .venv/.installed-dev  ## build the documentation into docs/_build/html; a warning is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build/html

format: .venv/.installed-dev  ## format the code, and mend what can be mended by itself
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

bench: .venv/.installed-test rabbitmq  ## measure the speed, beside other clients, and how costs grow: about half an hour
	@tools/ensure_benchmarks
	$(BIN)/python benchmarks/run.py $(BENCH)
	$(BIN)/python benchmarks/growth.py $(BENCH)
	$(BIN)/python benchmarks/threads.py

where: .venv/.installed-bench rabbitmq  ## say where the CPU of a message goes, by a sampling profiler: a quarter of an hour
	$(BIN)/python benchmarks/where.py $(BENCH)

fuzz: .venv/.installed-test rabbitmq  ## run the property tests with many more examples: long
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -q -m hypothesis --timeout=3600

torture: .venv/.installed-test rabbitmq  ## interrupt the library at every line it runs, use it from all sides: long
	PIKA_TEST_EVERY_LINE=1 $(BIN)/python -m pytest -q tests/adapters/test_blocking_ctrl_c.py tests/client/test_threads.py tests/client/test_interruptions.py tests/client/test_aio_cancellation.py tests/client/test_aio_cuts.py tests/client/test_aio_storm.py tests/adapters/test_async_cuts.py tests/adapters/test_twisted_cuts.py --timeout=1800 -o faulthandler_timeout=1790

contract: .venv/.installed-test rabbitmq  ## have every client keep the whole contract over TLS and on uvloop too: long
	PIKA_TEST_WHOLE_CONTRACT=1 $(BIN)/python -m pytest -q $(SIDE_BY_SIDE) tests/contract

flatness: .venv/.installed-test rabbitmq  ## see that memory, threads and descriptors stay flat: long
	$(BIN)/python benchmarks/flatness.py

programs: .venv/.installed-test rabbitmq  ## have real programs, from the package index, work with this library: long
	$(BIN)/python programs/run.py $(PROGRAMS)

clean:  ## remove everything that is made, the virtual environments too
	rm -rf .venv .venv-* build dist docs/_build .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed-test: pyproject.toml tools/bootstrap
	@tools/bootstrap .venv $(PYTHON) --editable '.[$(EXTRAS)]' --group test
	@touch $@

.venv/.installed-dev: .venv/.installed-test
	@tools/bootstrap .venv $(PYTHON) --group dev
	@touch $@

.venv/.installed-bench: .venv/.installed-test
	@tools/bootstrap .venv $(PYTHON) --group bench
	@touch $@

.venv-pypy/.installed: pyproject.toml tools/bootstrap
	@tools/bootstrap .venv-pypy $(PYPY) $(PYPY_INSTALLS)
	@touch $@

.venv-pyright/.installed: pyproject.toml tools/bootstrap
	@tools/bootstrap .venv-pyright $(PYTHON) --group pyright
	@touch $@
