#!/usr/bin/env bash
# Run by Snakemake in the new conda environment, from the project's root.
# requirements.lock: sha256 cbf39e2142ebbcf824e3ae85ea4e7470031dd2784f662fd8620c67229225ea80
# Snakemake makes the environment anew when this file changes, and looks at no other: `make lock` renews the line.
set -euo pipefail
python -m pip install --no-deps --require-hashes -r envs/requirements.lock
# Editable: a new commit of the package is used at once.
python -m pip install --no-deps --editable .
