#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The report's page in a browser. Skipped (77) where Chromium (CHROMIUM, else /usr/bin/chromium) or what drives it
# is not installed: run.sh puts the latter into build/venv.
set -eu
python=${OTIMES_PYTHON:-$OTIMES_SOURCE/build/venv/bin/python}
[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || exit 77
"$python" -c 'import h5py, numpy, playwright, pytest' 2>/dev/null || exit 77
exec "$python" -m pytest -q -p no:cacheprovider "$OTIMES_SOURCE/tests/report"
