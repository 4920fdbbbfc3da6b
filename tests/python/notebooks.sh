#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The notebooks, run from a copy without earlier results, still print what is kept in them: with the
# package as users install it. Skipped (77) where that, or Jupyter's pieces, cannot be installed.
set -eu
folder=$OTIMES_SOURCE/notebooks-data
python=$(sh "$OTIMES_SOURCE/tests/package/venv.sh") || exit
(
    flock 9
    "$python" -m pip install --quiet --disable-pip-version-check -r "$folder/requirements.txt" || exit 77
) 9>"$OTIMES_SOURCE/build/package.lock" || exit
PATH=$(dirname "$OTIMES"):$PATH
export PATH
exec "$python" "$folder/run.py" --check
