#!/bin/sh
# Runs the type check and every example script over a work folder: notebooks.sh PYTHON OUT
#
# Prints one line per script; stops at the first that fails, with its output.
set -u
python=$1
out=$2
folder=pipelines/notebooks
for script in "$folder/check_types.py" "$folder"/*_tables.py; do
    if output=$("$python" "$script" "$out" 2>&1); then
        echo "$script passed over $out" >&2
    else
        printf '%s\n' "$output" >&2
        echo "error: $script failed over $out" >&2
        exit 1
    fi
done
