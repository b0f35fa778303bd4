#!/usr/bin/env bash
# Run by Snakemake in the new conda environment, from the project's root.
# requirements.lock: sha256 137cc82e74fe291e5305de055e96d8903c47d85c85f88cadb9965edc1e570ca7
# Snakemake makes the environment anew when this file changes, and looks at no other: `make lock` renews the line.
set -euo pipefail
python -m pip install --no-deps --require-hashes -r envs/requirements.lock
# Editable: a new commit of the package is used at once.
python -m pip install --no-deps --editable .
