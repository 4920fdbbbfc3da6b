#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds for coverage, runs the unit and command-line suites and says what they reached of lib/.
# Usage: sh tests/checks/coverage.sh [FOLDER] [options of coverage.py ...]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$root/build/coverage}
[ $# -eq 0 ] || shift
meson=$(sh "$root/tools/setup.sh" --print-meson)

[ -f "$folder/build.ninja" ] ||
    "$meson" setup --buildtype debugoptimized -Doptimization=1 -Db_coverage=true "$folder" "$root" >/dev/null
"$meson" compile -C "$folder" >/dev/null
# What cannot be written of the counts where a test makes writing fail is none of the program's messages.
export GCOV_ERROR_FILE=/dev/null
failed=0
find "$folder" -name '*.gcda' -delete
OMP_WAIT_POLICY=passive "$meson" test -C "$folder" --no-rebuild --print-errorlogs -t 4 \
    --suite unit --suite cli || failed=1
python3 "$root/tests/checks/coverage.py" "$folder" "$@" || failed=1
exit $failed
