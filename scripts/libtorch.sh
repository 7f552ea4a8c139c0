#!/bin/sh
# Makes sure that the build finds a libtorch, and installs one if necessary.
#
#   LIBTORCH               your own libtorch, which is used as it is
#   LIBTORCH_VARIANT       cpu or cuda (default: cuda if nvidia-smi lists a GPU, otherwise cpu)
#   OSSIFY_LIBTORCH_DIR    where to install (default data/libtorch); several checkouts can share one
#
# The link data/libtorch/current points to the libtorch in use; .cargo/config.toml refers to it.
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
