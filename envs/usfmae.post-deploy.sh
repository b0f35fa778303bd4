#!/usr/bin/env bash
# Run by Snakemake in the new conda environment, from the project's root.
# requirements.lock: sha256 2b5b5eb3ae2bc624073a5dc7fc9dc94814665ae7e6bddf67033e8237c8ab612a
# Snakemake makes the environment anew when this file changes, and looks at no other: `make lock` renews the line.
set -euo pipefail
python -m pip install --no-deps --require-hashes -r envs/requirements.lock
# Editable: a new commit of the package is used at once.
python -m pip install --no-deps --editable .
