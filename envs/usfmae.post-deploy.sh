#!/usr/bin/env bash
# Run by Snakemake in the new conda environment, from the project's root.
# requirements.lock: sha256 44d79db8f2845a244949ae99258ebf4b8f7ac9ba23f8547828065a9c34a18d83
# Snakemake makes the environment anew when this file changes, and looks at no other: `make lock` renews the line.
set -euo pipefail
python -m pip install --no-deps --require-hashes -r envs/requirements.lock
# Editable: a new commit of the package is used at once.
python -m pip install --no-deps --editable .
