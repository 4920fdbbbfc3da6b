#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The package as users install it, in build/package, a venv of its own; prints its Python. 77: pip has
# no way to PyPI. Who installs more there holds build/package.lock as well.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=$root/build/package
mkdir -p "$root/build"
exec 9>"$venv.lock"
flock 9
pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv" >&2 || exit 77
$pip install -r "$root/tests/package/requirements.txt" >&2 || exit 77
$pip install "$root[plot]" "--config-settings=build-dir=$root/build/package-build" >&2
echo "$venv/bin/python"
