# make demo    the whole study on simulated data: minutes, offline, no GPU
# make test    every check that needs nothing but Python
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin
# Two jobs of one thread beat one of two: Snakemake runs the jobs side by side.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-full check bus-bra lock schemas clean help

help:
	@grep -E '^# make' Makefile | sed 's/^# //'

demo: .venv/installed
	$(BIN)/snakemake --cores $(CORES)
	@echo
	@echo "The report:       results/report/report.html (open it in a browser)"
	@echo "The MLflow UI:    $(BIN)/mlflow ui --backend-store-uri sqlite:///results/mlflow/mlflow.db" \
		"and then http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
	@echo "What to run next: docs/your-own-data.md, the same study on your own folder of images"

test: .venv/installed-test check
	$(BIN)/python -m pytest --ignore=tests/full

# What needs other programs than Python: a browser.
test-full: .venv/installed-test
	$(BIN)/python -m pytest tests/full

check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

# BUS-BRA as it is released, whole: make bus-bra DATA=/folder/with/Images/and/bus_data.csv
bus-bra: .venv/installed
	@test -d "$(DATA)" || { echo "make bus-bra DATA=<folder of the BUS-BRA release>"; exit 1; }
	BUS_BRA="$(abspath $(DATA))" $(BIN)/snakemake --cores $(CORES) --configfile config/examples/bus_bra.yaml

# After a change of the dependencies in pyproject.toml. Needs the tool uv.
lock:
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --quiet \
		--extra test pyproject.toml --output-file envs/requirements-test.lock
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --quiet \
		--constraint envs/requirements-test.lock pyproject.toml --output-file envs/requirements.lock

# After a change of the typed settings.
schemas: .venv/installed
	$(BIN)/python -m usfmae.settings

clean:
	rm -rf results/* resources checkpoints logs .snakemake
	git checkout -- results

.venv/installed: envs/requirements.lock pyproject.toml
	$(call install,envs/requirements.lock)

.venv/installed-test: envs/requirements-test.lock pyproject.toml
	$(call install,envs/requirements-test.lock)
	touch .venv/installed

define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "usfmae needs Python 3.11 or newer; name one: make PYTHON=python3.12 demo"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the environment: about 2 minutes and 7 GB, once"
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement $(1)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@
endef
