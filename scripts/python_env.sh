#!/bin/sh
# Creates a Python environment with these requirements, once: python_env.sh FOLDER REQUIREMENTS
#
# A marker with the requirements is written last, so that an incomplete or outdated environment is
# replaced.
set -eu
folder=$1
requirements=$2
if cmp -s "$requirements" "$folder/complete.txt"; then exit 0; fi
python=${PYTHON:-python3}
if ! command -v "$python" >/dev/null 2>&1; then
    echo "error: $python is missing; install python3 with pip and venv, then run again" >&2
    exit 1
fi
echo "creating the Python environment $folder from $requirements: up to 10 minutes, once" >&2
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    --requirement "$requirements"
cp "$requirements" "$folder/complete.txt"
