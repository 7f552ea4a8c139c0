#!/bin/sh
# Tests the files that users copy from pipelines/, in temporary folders: pipelines.sh
# RELEASE_FOLDER PYTHON [TEST]...
set -eu
OSSIFY_BIN=$(cd "$1" && pwd)
# Links are not resolved, because the link itself selects the Python environment.
OSSIFY_PYTHON=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
export OSSIFY_BIN OSSIFY_PYTHON
shift 2
cd pipelines/tests
exec "$OSSIFY_PYTHON" -B -m unittest "$@"
