#!/bin/sh
# Runs the tests of the C++ kernels under AddressSanitizer and UndefinedBehaviorSanitizer. Only the
# crate torch-kernels is compiled for this: its feature `sanitizers` gives it a build of its own
# that shares all compiled dependencies. A test ends at the first report; leaks are reported at its
# end. libtorch itself is not instrumented.
set -eu
cd "$(dirname "$0")/.."

library() {
    path=$("${CXX:-c++}" -print-file-name="lib$1.so")
    # For a missing library, the compiler prints the bare name.
    if [ ! -e "$path" ]; then
        echo "error: the C++ compiler has no lib$1.so; install it" \
            "(Debian and Ubuntu: apt install g++; Fedora: dnf install lib$1)" >&2
        exit 1
    fi
    echo "$path"
}
address=$(library asan)
undefined=$(library ubsan)

# Tests that measure the process's memory are left out, because sanitizers use memory themselves.
built=$(mktemp)
trap 'rm -f "$built"' EXIT
echo 'compiling the C++ kernels with sanitizers: 2 minutes' >&2
"${CARGO:-cargo}" test --profile bench --workspace --features ossify-torch-kernels/sanitizers \
    --test ops --test optimiser --no-run --message-format=json >"$built"
for test in ops optimiser; do
    program=$(sed -n "s/.*\"name\":\"$test\".*\"executable\":\"\([^\"]*\)\".*/\1/p" "$built")
    if [ ! -x "$program" ]; then
        echo "error: cargo did not say where the test $test is" >&2
        exit 1
    fi
    echo "the kernels' test $test, under the sanitizers" >&2
    LD_PRELOAD="$address:$undefined" \
        ASAN_OPTIONS="detect_leaks=1:halt_on_error=1:${ASAN_OPTIONS:-}" \
        UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:${UBSAN_OPTIONS:-}" \
        "$program"
done
