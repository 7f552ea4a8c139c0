#!/bin/sh
# Runs the tests of the C++ kernels under AddressSanitizer and UndefinedBehaviorSanitizer. Only the
# crate torch-kernels is compiled for it: its feature `sanitizers` names a build of its own, which
# shares the compiled dependencies with all others. The first report ends a test; memory that leaks
# is reported at its end. libtorch itself is compiled without sanitizers.
set -eu
cd "$(dirname "$0")/.."

library() {
    path=$("${CXX:-c++}" -print-file-name="lib$1.so")
    # The compiler gives back the bare name of a library that it does not have.
    if [ ! -e "$path" ]; then
        echo "error: the C++ compiler has no lib$1.so; install it" \
            "(Debian and Ubuntu: apt install g++; Fedora: dnf install lib$1)" >&2
        exit 1
    fi
    echo "$path"
}
address=$(library asan)
undefined=$(library ubsan)

# Tests that measure the process's memory stay out: the sanitizers take memory of their own.
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
