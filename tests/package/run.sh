#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The Python package: installed by pip into a venv, its types checked, its tests run. Skipped (77)
# where pip cannot install.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$(sh "$root/tests/package/venv.sh") || exit
cd "$root/tests/package" # so that the package is the installed one
"$python" -m mypy --config-file "$root/pyproject.toml" --cache-dir "$root/build/package-mypy" "$root/lib/python/otimes"
exec "$python" -m pytest -q -p no:cacheprovider "$@" "$root/tests/package"
