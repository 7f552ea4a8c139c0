#!/bin/sh
# Checks and times ours on an NVIDIA GPU, and writes one JSON file: check.sh RELEASE_FOLDER PYTHON
# OUT.json [DEVICE]
#
# RELEASE_FOLDER holds the programs and examples, built against a CUDA libtorch of 2.9 or later;
# PYTHON has the packages of pipelines/parity/requirements.txt, its torch with CUDA. DEVICE is
# cuda:0 if not named. In order: logits and gradients against PyTorch, `infer` and `train_step` of
# DenseNet121 against PyTorch, and a short training of the demo, the last three in float32, TF32 and
# bfloat16. A check that fails is in the file, and the exit code is 1.
#
#   make libtorch && cargo build --release --workspace --bins --examples
#   pipelines/gpu/check.sh target/release data/venv/parity/bin/python docs/measurements/gpu.json
set -eu
cd "$(dirname "$0")/../.."
exec "${2:?usage: check.sh RELEASE_FOLDER PYTHON OUT.json [DEVICE]}" pipelines/gpu/check.py \
    "$1" "${3:?an output file is needed}" "${4:-cuda:0}"
