#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The one test command: installs what is missing, builds, runs every suite, ends with a count. Three
# builds are tested: the one users get, one under AddressSanitizer and UBSan, and one on the plain-C
# kernels alone.
# Usage: sh tests/run.sh
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

# folder, suites to leave out, meson options
check() {
    folder=$1 without=$2
    shift 2
    echo "== $folder $*"
    [ -f "$root/$folder/build.ninja" ] || "$meson" setup "$@" "$root/$folder" "$root" >/dev/null
    "$meson" compile -C "$root/$folder" >/dev/null
    # shellcheck disable=SC2086 # words on purpose
    "$meson" test -C "$root/$folder" --no-rebuild --print-errorlogs $without || failed=1
}

check build "" --buildtype release
check build/sanitize "--no-suite style --no-suite python" \
    -Db_sanitize=address,undefined -Db_lundef=false --buildtype debugoptimized -Dc_args=-g1
check build/reference "--no-suite style --no-suite python --no-suite cli --no-suite bytes" \
    -Dblas=reference -Dvmath=reference --buildtype release

# Meson's own counts, as one line.
python3 - "$root/build" "$root/build/sanitize" "$root/build/reference" <<'EOF' || failed=1
import json
import sys

results = [
    json.loads(line)["result"]
    for folder in sys.argv[1:]
    for line in open(f"{folder}/meson-logs/testlog.json", encoding="utf-8")
]
passed = sum(result in ("OK", "EXPECTEDFAIL") for result in results)
skipped = results.count("SKIP")
failed = len(results) - passed - skipped
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(failed > 0 or passed == 0)
EOF
exit $failed
