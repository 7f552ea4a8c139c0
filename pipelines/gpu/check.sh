#!/bin/sh
# Checks and times ossify on an NVIDIA GPU, and writes one JSON file: check.sh RELEASE_FOLDER PYTHON
# OUT.json [DEVICE]
#
# RELEASE_FOLDER contains the programs and examples, built with a CUDA libtorch of 2.9 or later;
# PYTHON needs the packages in pipelines/parity/requirements.txt, with a CUDA build of torch. DEVICE
# is cuda:0 by default. Compares logits and gradients with PyTorch, times `infer` and `train_step`
# of DenseNet121 against PyTorch, and trains the demo briefly; the last three in float32, TF32 and
# bfloat16. Failed checks are listed in the file, and the exit code is 1.
#
#   make libtorch && cargo build --release --workspace --bins --examples
#   pipelines/gpu/check.sh target/release data/venv/parity/bin/python docs/measurements/gpu.json
set -eu
cd "$(dirname "$0")/../.."
exec "${2:?usage: check.sh RELEASE_FOLDER PYTHON OUT.json [DEVICE]}" pipelines/gpu/check.py \
    "$1" "${3:?an output file is needed}" "${4:-cuda:0}"
