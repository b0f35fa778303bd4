#!/usr/bin/env bash
# Run by Snakemake in the new conda environment, from the project's root.
set -euo pipefail
python -m pip install --no-deps --require-hashes -r envs/requirements.lock
python -m pip install --no-deps .
