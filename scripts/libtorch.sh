#!/bin/sh
# Makes sure that a libtorch is there for the build, and says which.
#
#   LIBTORCH               a libtorch of your own: used as it is, nothing is installed
#   LIBTORCH_VARIANT       cpu or cuda; without it: cuda where nvidia-smi lists a GPU, else cpu
#   OSSIFY_LIBTORCH_DIR    where to install (default data/libtorch); several checkouts can share one
#
# What is used stands behind the link data/libtorch/current, to which .cargo/config.toml points.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

if [ -n "${LIBTORCH:-}" ]; then
    for part in lib/libtorch_cpu.so include/torch; do
        [ -e "$LIBTORCH/$part" ] || fail "LIBTORCH is set to $LIBTORCH, which has no $part" \
            \
            "set it to the folder of libtorch 2.9 that holds lib/ and include/," \
            "or unset it to have one installed"
    done
    exit 0
fi

variant=${LIBTORCH_VARIANT:-}
if [ -z "$variant" ]; then
    variant=cpu
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
        variant=cuda
    fi
fi
case $variant in
    cpu | cuda) ;;
    *) fail "LIBTORCH_VARIANT is $variant; it can be cpu or cuda" ;;
esac

folder=${OSSIFY_LIBTORCH_DIR:-data/libtorch}
if [ ! -f "$folder/$variant/complete.json" ]; then
    command -v python3 >/dev/null 2>&1 || fail \
        "libtorch is not installed, and python3, which installs it, is missing" \
        "install python3 and pip, then run again;" \
        "or set LIBTORCH to a libtorch 2.9 that you have;" \
        "or do without: make BACKEND=flex ... (pure Rust, nothing to install, slower)"
    python3 scripts/libtorch_install.py "$variant" "$folder"
fi

installed=$(cd "$folder/$variant/torch" && pwd -P)
if [ "$(readlink data/libtorch/current 2>/dev/null || true)" != "$installed" ]; then
    mkdir -p data/libtorch
    ln -sfn "$installed" "data/libtorch/.current.$$"
    mv -fT "data/libtorch/.current.$$" data/libtorch/current
fi
