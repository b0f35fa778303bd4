#!/usr/bin/env bash
# Run by Snakemake in the new conda environment, from the project's root.
# requirements.lock: sha256 d0a1d4b8b00291934cc30922e09bf81558088ab70ee8e263ea91716ee7f2a71b
# Snakemake makes the environment anew when this file changes, and looks at no other: `make lock` renews the line.
set -euo pipefail
python -m pip install --no-deps --require-hashes -r envs/requirements.lock
# Editable: a new commit of the package is used at once.
python -m pip install --no-deps --editable .
