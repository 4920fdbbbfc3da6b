#!/bin/sh
# SPDX-License-Identifier: MIT
#
# clang-format has nothing to change. Skipped (77) where it is not installed. With file names as
# arguments only those.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
tool=${CLANG_FORMAT:-$root/build/venv/bin/clang-format}
if ! command -v "$tool" >/dev/null; then
    echo "style.sh: no clang-format of the pinned release (build/venv)" >&2
    exit 77
fi
cd "$root"
if [ "$#" -eq 0 ]; then
    set -- $(find lib tools tests -type f -name '*.[ch]' | sort)
fi
"$tool" --dry-run -Werror "$@"
echo "style.sh: $# files"
