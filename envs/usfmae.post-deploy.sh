#!/usr/bin/env bash
# Run by Snakemake in the new conda environment, from the project's root.
set -euo pipefail
python -m pip install --no-deps --require-hashes -r envs/requirements.lock
# Editable: a new commit of the package is used at once.
python -m pip install --no-deps --editable .
