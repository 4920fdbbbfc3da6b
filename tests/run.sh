#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The one test command: installs what is missing, builds, runs every suite, ends with a count.
# Usage: sh tests/run.sh
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
sh "$root/tools/setup.sh"

# Python readers of the results, in a folder of their own.
venv=$root/build/venv
if ! "$venv/bin/python" -c 'import h5netcdf, numpy, pytest, xarray' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        -r "$root/tests/python/requirements.txt"
fi

failed=0
log=$root/build/meson-logs/testlog.json
PATH=$root/build/venv/bin:$PATH meson=$(command -v meson || echo /usr/bin/meson)
"$meson" test -C "$root/build" --no-rebuild --print-errorlogs || failed=1

# Meson's own count, as one line.
python3 - "$log" <<'EOF' || failed=1
import json
import sys

results = [json.loads(line)["result"] for line in open(sys.argv[1])]
passed = sum(result in ("OK", "EXPECTEDFAIL") for result in results)
skipped = results.count("SKIP")
failed = len(results) - passed - skipped
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(failed > 0 or passed == 0)
EOF
exit $failed
