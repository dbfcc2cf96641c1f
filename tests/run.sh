#!/usr/bin/env bash
# Installs porter with everything it can use into a virtual environment of its own, then runs lint, types and
# every test. Takes the environment's folder as its only argument (default: .venv).
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}

python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt --editable '.[hdf5,data,ray,torch,tensorflow,onnx,docs,test,lint]'
"$venv/bin/ruff" check
"$venv/bin/ruff" format --check
"$venv/bin/mypy"
# Each of the two processes takes a core; PyTorch in either would otherwise take both.
OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations=15
