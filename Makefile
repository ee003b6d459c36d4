# One command for each thing a newcomer or CI wants. Everything runs in .venv, which is made on demand.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL_INPUTS := pyproject.toml setup.py casparian/_fastpath/_speed.pyx casparian/adapters/files/_walk.pyx \
	casparian/adapters/sink/_copy_rows.pyx

.PHONY: hot-reload help venv demo test test-pure test-mssql properties sink-machines crash-matrix failing-calls discipline power-loss resources soak fuzz fuzz-coverage claimers hosts bad-input-full torture lint audit docs schema reference bench bench-full clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       install, run the engine on real data, print what was loaded"
	@echo "make test       install with the test extras, run the whole suite"
	@echo "make test-pure  unit, fast path and contract tests on the pure-Python twin"
	@echo "make test-mssql  what SQL Server needs, on the one that CASPARIAN_TEST_MSSQL_URL names"
	@echo "make properties  every property with fifty times as many examples; takes an hour"
	@echo "make sink-machines  each sink against its model, 10,000 histories of 50 steps; takes hours"
	@echo "make crash-matrix  the engine killed at every call that changes files or sends to a server; takes hours"
	@echo "make failing-calls  an error at every call that changes files or talks to a server; takes hours"
	@echo "make soak       engines and sidecars killed at random for SECONDS=600, readers beside them"
	@echo "make fuzz       a million frames, 100,000 mutated Arrow streams; takes minutes"
	@echo "make fuzz-coverage  the same code and more, led by coverage; SECONDS=600 for each target"
	@echo "make discipline  how soon a sidecar that dies, hangs, loops, eats memory is ended: a table"
	@echo "make power-loss  disks that lose their power at every step, without each fsync; needs root"
	@echo "make resources  disks, descriptors, clock and time taken from an engine, and given back"
	@echo "make claimers   16 processes on 100,000 jobs, SQLite and PostgreSQL; takes an hour"
	@echo "make hosts      engines on several hosts, cut off from PostgreSQL in every step; takes minutes"
	@echo "make hot-reload  ten deployments a second for a minute, files coming in meanwhile"
	@echo "make bad-input-full  a batch of 3 GB, a million batches of one row; takes many minutes"
	@echo "make torture    a hostile drop at full size, scored by rows lost, doubled, wrong"
	@echo "make lint       ruff, mypy, import-linter, bandit"
	@echo "make audit      known vulnerabilities of the packages that are installed; asks a service"
	@echo "make docs       the documentation as a site, in site/; a link that leads nowhere fails it"
	@echo "make schema     the script of the latest schema, from the migrations"
	@echo "make reference  the pages of docs/reference that are made from the code"
	@echo "make bench      the benchmark suites"
	@echo "make bench-full the whole pipeline at full size: 1 GB in large files, 5,000 small ones"
	@echo "make clean      remove what was built (not .venv)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp per extra: .venv/.installed-test says that `pip install -e .[test]` is up to date.
$(VENV)/.installed-%: $(INSTALL_INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	@touch $@

venv: $(VENV)/.installed-dev

demo: $(VENV)/.installed-demo
	$(BIN)/python demo/run.py

test: $(VENV)/.installed-test
	$(BIN)/python -m tests.support.postgres_server $(BIN)/python -m pytest -n 2 --dist worksteal

test-pure: $(VENV)/.installed-test
	CASPARIAN_PURE=1 CASPARIAN_EXPECT_FASTPATH=pure \
		$(BIN)/python -m pytest -n 2 --dist worksteal tests/unit tests/fastpath tests/contracts

properties: $(VENV)/.installed-test
	CASPARIAN_EXAMPLES=50 $(BIN)/python -m pytest -n 2 --timeout 36000 \
		$$(grep -rl --include='test_*.py' '^from hypothesis' tests)

# What is modelled is the order of steps: in memory, where there is room for it, they take a quarter.
MEMORY := $(shell test -w /dev/shm && echo TMPDIR=/dev/shm)
EXAMPLES ?= 2000
sink-machines: $(VENV)/.installed-test
	$(MEMORY) CASPARIAN_EXAMPLES=$(EXAMPLES) $(BIN)/python -m tests.support.postgres_server \
		$(BIN)/python -m pytest --timeout 36000 tests/faults/test_sink_machine.py

crash-matrix: $(VENV)/.installed-test
	CASPARIAN_CRASH_POINTS=all $(BIN)/python -m tests.support.postgres_server \
		$(BIN)/python -m pytest -n 2 --dist worksteal -rP \
		tests/faults/test_crash_points.py tests/faults/test_purge_crash_points.py \
		tests/faults/test_crash_adopt.py tests/faults/test_crash_deploy.py \
		tests/faults/test_schedules_steps.py

SECONDS ?= 600
soak: $(VENV)/.installed-test
	$(BIN)/python -m tests.faults.soak --seconds $(SECONDS)

fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.faults.fuzz frames --count 1000000
	$(BIN)/python -m tests.faults.fuzz streams --count 100000

TARGETS ?= heads frames session settings globs records
fuzz-coverage: $(VENV)/.installed-fuzz
	for target in $(TARGETS); do $(BIN)/python -m tests.faults.fuzz_coverage $$target \
		-max_total_time=$(SECONDS) -print_final_stats=1 || exit; done

failing-calls: $(VENV)/.installed-test
	CASPARIAN_CRASH_POINTS=all $(BIN)/python -m tests.support.postgres_server \
		$(BIN)/python -m pytest -n 2 --dist worksteal -rP tests/faults/test_failing_calls.py

discipline: $(VENV)/.installed-test
	$(BIN)/python -m pytest -s tests/faults/test_discipline.py | grep -P "\t| s, "

power-loss: $(VENV)/.installed-test
	CASPARIAN_POWER=full CASPARIAN_CRASH_POINTS=25 $(BIN)/python -m pytest \
		tests/faults/test_fsyncs.py tests/faults/test_power_cut.py

resources: $(VENV)/.installed-test
	CASPARIAN_RESOURCES=full $(BIN)/python -m pytest tests/faults/test_resources.py \
		tests/faults/test_locked_queue.py tests/faults/test_bad_input_storage.py \
		tests/faults/test_missing_places.py tests/faults/test_read_only_queue.py

claimers: $(VENV)/.installed-test
	CASPARIAN_CLAIMERS=full $(BIN)/python -m tests.support.postgres_server \
		$(BIN)/python -m pytest tests/faults/test_many_claimers.py

hosts: $(VENV)/.installed-test
	CASPARIAN_HOSTS=full $(BIN)/python -m tests.support.postgres_server \
		$(BIN)/python -m pytest tests/faults/test_hosts.py

hot-reload: $(VENV)/.installed-test
	CASPARIAN_HOT_RELOAD=full $(BIN)/python -m pytest -s tests/faults/test_hot_reload.py

bad-input-full: $(VENV)/.installed-test
	CASPARIAN_BAD_INPUT=full $(BIN)/python -m pytest tests/faults/test_bad_input_sizes.py

torture: $(VENV)/.installed-test
	CASPARIAN_TORTURE=full $(BIN)/python -m pytest tests/faults/torture

test-mssql: $(VENV)/.installed-test
	@test -n "$$CASPARIAN_TEST_MSSQL_URL" || { echo "Set CASPARIAN_TEST_MSSQL_URL to the URL of a" \
		"database, as mssql+pyodbc://user:password@host:1433/database?TrustServerCertificate=yes"; exit 2; }
	$(BIN)/python -m pytest -k "mssql or Mssql" tests/unit tests/contracts tests/integration tests/faults

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/bandit

audit: $(VENV)/.installed-dev
	$(BIN)/python .ci/audit

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --clean

schema: $(VENV)/.installed-test
	$(BIN)/python -m casparian.adapters.queue.migrations

reference: $(VENV)/.installed-test
	$(BIN)/python -m casparian.app.reference docs/reference

bench: $(VENV)/.installed-test
	$(BIN)/python -m pytest benchmarks --benchmark-columns=min,median,ops,rounds --benchmark-sort=name

bench-full: $(VENV)/.installed-test
	CASPARIAN_BENCH_LARGE_FILES=200 CASPARIAN_BENCH_SMALL_FILES=5000 $(BIN)/python -m pytest \
		benchmarks/test_pipeline.py --benchmark-columns=min,median,rounds --benchmark-sort=name

clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks
	rm -f casparian/_fastpath/_speed.c casparian/_fastpath/*.so \
		casparian/adapters/files/_walk.c casparian/adapters/files/*.so \
		casparian/adapters/sink/_copy_rows.c casparian/adapters/sink/*.so $(VENV)/.installed-*
	find casparian tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
