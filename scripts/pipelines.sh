#!/bin/sh
# Runs the tests of what users copy from pipelines: pipelines.sh RELEASE_FOLDER PYTHON [TEST]...
# They work in temporary folders.
set -eu
OSSIFY_BIN=$(cd "$1" && pwd)
# Not resolved: a link into an environment is what makes it that environment's Python.
OSSIFY_PYTHON=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
export OSSIFY_BIN OSSIFY_PYTHON
shift 2
cd pipelines/tests
exec "$OSSIFY_PYTHON" -B -m unittest "$@"
