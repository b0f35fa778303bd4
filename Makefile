# make demo    the whole study on simulated data: minutes, offline, no GPU
# make test    every check that needs nothing but Python
PYTHON ?= python3
# Each core runs one job of up to 1.5 GB.
CORES ?= 2
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
	$(BIN)/python -m pytest --ignore=tests/full --numprocesses $(CORES) --dist loadfile --no-loadscope-reorder

# What needs other programs than Python, and root: a browser, Slurm, PostgreSQL, mounts.
test-full: .venv/installed-test
	$(BIN)/python -m pytest tests/full --numprocesses $(CORES) --dist loadfile --durations 15

check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

# BUS-BRA as it is released, whole: make bus-bra DATA=/folder/with/Images/and/bus_data.csv
bus-bra: .venv/installed
	@test -d "$(DATA)" || { echo "make bus-bra DATA=<folder of the BUS-BRA release>"; exit 1; }
	BUS_BRA="$$(cd "$(DATA)" && pwd)" $(BIN)/snakemake --cores $(CORES) \
		--directory studies/bus_bra --configfile config/examples/bus_bra.yaml
	@echo "The report: studies/bus_bra/results/report/report.html"

# After a change of the dependencies in pyproject.toml. Needs the tool uv.
lock:
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --quiet \
		--extra test pyproject.toml --output-file envs/requirements-test.lock
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --quiet \
		--constraint envs/requirements-test.lock pyproject.toml --output-file envs/requirements.lock
	sed -i "s/sha256 .*/sha256 $$(sha256sum envs/requirements.lock | cut -d' ' -f1)/" envs/usfmae.post-deploy.sh

# After a change of the typed settings.
schemas: .venv/installed
	$(BIN)/python -m usfmae.settings

clean:
	rm -rf results/* studies resources checkpoints logs .snakemake
	git checkout -- results

.venv/installed: envs/requirements.lock pyproject.toml
	$(call install,envs/requirements.lock)

.venv/installed-test: envs/requirements-test.lock pyproject.toml
	$(call install,envs/requirements-test.lock)
	touch .venv/installed

define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "usfmae needs Python 3.11 or newer; name one: make PYTHON=python3.12 demo"; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "Installing the environment: about 2 minutes and 7 GB, once"
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement $(1)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@
endef
