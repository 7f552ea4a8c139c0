#!/bin/sh
# Checks licences, sources and known vulnerabilities of our dependencies according to deny.toml.
# cargo-deny itself is compiled the first time.
#
#   OSSIFY_TOOLS_DIR    where to install it (default data/tools); several checkouts can share one
set -eu
cd "$(dirname "$0")/.."
version=0.20.2
tools=${OSSIFY_TOOLS_DIR:-data/tools}
deny=$tools/bin/cargo-deny

if [ "$("$deny" --version 2>/dev/null || true)" != "cargo-deny $version" ]; then
    echo "compiling cargo-deny $version: 4 minutes on two processors, once" >&2
    # Not in our own build folder, which other tools clear and measure.
    env -u CARGO_TARGET_DIR "${CARGO:-cargo}" install --quiet --locked cargo-deny \
        --version "$version" --root "$tools"
fi

"$deny" --all-features check licenses bans sources
# The database of advisories is a git repository on the network; being offline is not an error.
if message=$("$deny" fetch db 2>&1); then
    "$deny" --all-features check --disable-fetch advisories
else
    printf '%s\n' "$message" >&2
    echo 'known vulnerabilities NOT checked: the database of advisories cannot be fetched' >&2
fi
