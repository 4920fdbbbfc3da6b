#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The results as Python readers see them. Skipped (77) where the readers are not installed: run.sh
# puts them into build/venv.
set -eu
python=$OTIMES_SOURCE/build/venv/bin/python
"$python" -c 'import h5netcdf, numpy, pytest, safetensors, xarray' 2>/dev/null || exit 77
exec "$python" -m pytest -q -p no:cacheprovider "$OTIMES_SOURCE/tests/python"
