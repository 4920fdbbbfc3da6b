#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The one test command: installs what is missing, builds, runs every suite, ends with a count. Tested are
# the build that users get, also under valgrind; one under AddressSanitizer and UBSan; and two on the
# plain-C kernels alone, under ThreadSanitizer and MemorySanitizer, which a BLAS that was compiled
# without these would mislead.
# Usage: sh tests/run.sh [--all]
#        --all: also the plain-C kernels as they are, large sizes among them
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/tools/setup.sh" --tests

venv=$root/build/venv
if ! "$venv/bin/python" -c 'import h5netcdf, numpy, playwright, pytest, safetensors, xarray' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        -r "$root/tests/python/requirements.txt" ||
        echo "run.sh: the Python readers could not be installed: their tests and style are skipped"
fi

# Each result is brought to the disk before it takes its name; in memory nobody waits for that.
room=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 {print $4}')
if [ -z "${TMPDIR-}" ] && [ "${room:-0}" -gt 2000000 ] && [ -w /dev/shm ]; then
    TMPDIR=$(mktemp -d /dev/shm/otimes-tests.XXXXXX)
    export TMPDIR
    trap 'chmod -R u+w "$TMPDIR"; rm -rf "$TMPDIR"' EXIT
fi

meson=$(sh "$root/tools/setup.sh" --print-meson)
failed=0
folders=

# folder, compiler, which suites, meson options
check() {
    folder=$root/$1 compiler=$2 suites=$3
    echo "== $*"
    folders="$folders $1"
    shift 3
    [ -f "$folder/build.ninja" ] || CC=$compiler "$meson" setup "$@" "$folder" "$root" >"$root/build/setup.log" ||
        { tail -n 5 "$root/build/setup.log"; failed=1; return 0; }
    rm -f "$folder/failed" "$folder/meson-logs/testlog.json"
    # Builds what these tests need, without a word about each step.
    # shellcheck disable=SC2086 # words on purpose
    { "$meson" test -C "$folder" --print-errorlogs $suites || touch "$folder/failed"; } |
        grep --line-buffered -Ev '^(\[[0-9]+/[0-9]+\]|ninja:) ' || :
    [ ! -e "$folder/failed" ] || failed=1
}

plain="-Dblas=reference -Dvmath=reference"
sanitized="-Db_lundef=false --buildtype debugoptimized"
more=float-cast-overflow,bounds-strict

# shellcheck disable=SC2086 # words on purpose
{
    check build "${CC:-cc}" "" --buildtype release
    check build/sanitize "${CC:-cc}" "--no-suite style --no-suite python --no-suite valgrind --no-suite repeated" \
        -Db_sanitize=address,undefined $sanitized "-Dc_args=-g1 -fsanitize=$more -fno-sanitize-recover=all"
    [ "${1-}" != --all ] || check build/reference "${CC:-cc}" "--suite unit --no-suite bytes" $plain --buildtype release
    # Bytes have no threads, and where allocation fails the same loops run again and again.
    check build/threads clang "--suite unit --no-suite large --no-suite bytes --no-suite allocation --no-suite program" \
        -Db_sanitize=thread $plain $sanitized -Dc_args=-g1
    # What runs beyond the library itself is left out: HDF5 and others were compiled without this sanitizer.
    check build/memory clang "--suite unit --no-suite large --no-suite program" \
        -Db_sanitize=memory $plain $sanitized -Dc_args=-g1
}

# Meson's own counts, as one line. A build that failed has none.
# shellcheck disable=SC2086 # words on purpose
python3 - "$root" $folders <<'EOF' || failed=1
import json
import os
import sys

results = []
for folder in sys.argv[2:]:
    log = f"{sys.argv[1]}/{folder}/meson-logs/testlog.json"
    if not os.path.exists(log):
        print(f"{folder}: no test ran")
        results.append("FAIL")
        continue
    with open(log, encoding="utf-8") as lines:
        results += [json.loads(line)["result"] for line in lines]
passed = sum(result in ("OK", "EXPECTEDFAIL") for result in results)
skipped = results.count("SKIP")
failed = len(results) - passed - skipped
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(failed > 0 or passed == 0)
EOF
exit $failed
