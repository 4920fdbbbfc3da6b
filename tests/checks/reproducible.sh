#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds the tree twice, from copies in folders of different names, at another time, in another zone, with another
# umask, home and language, and compares the library, the program, manual pages and the report's page byte by byte.
# Usage: sh tests/checks/reproducible.sh [meson options ...]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
meson=$(sh "$root/tools/setup.sh" --print-meson)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# folder of the sources, folder of the build, meson options
build() {
    source=$1 folder=$2
    shift 2
    mkdir -p "$source" "$HOME"
    tar -C "$source" -xf "$work/sources"
    "$meson" setup --buildtype release -Dtests=disabled "$@" "$folder" "$source" >/dev/null
    "$meson" compile -C "$folder" >/dev/null
    DESTDIR=$folder/image "$meson" install -C "$folder" --no-rebuild >/dev/null
}

# What git would commit now: no build folder, no cache.
git -C "$root" ls-files -z --cached --others --exclude-standard -- lib tools tests/meson.build meson.build \
    meson_options.txt | (cd "$root" && xargs -0 tar -cf "$work/sources")

# A compiler's cache would hand the first build's objects to the second.
export CCACHE_DISABLE=1
(
    umask 022
    LC_ALL=C TZ=UTC HOME=$work/home USER=first build "$work/one" "$work/one/build" "$@"
)
sleep 1
(
    umask 077
    LC_ALL=C.UTF-8 TZ=Pacific/Auckland HOME=$work/other USER=second \
        build "$work/another place/of/sources" "$work/elsewhere" "$@"
)

compared=0
failed=0
image() {
    (cd "$1/image" && find . -type f ! -name '*.pc' | sort)
}
image "$work/one/build" >"$work/files"
image "$work/elsewhere" | cmp -s - "$work/files" || {
    echo "reproducible.sh: the builds install other files" >&2
    failed=1
}
echo ../report_page.h >>"$work/files"
while read -r file; do
    if cmp "$work/one/build/image/$file" "$work/elsewhere/image/$file"; then
        compared=$((compared + 1))
    else
        failed=1
    fi
done <"$work/files"
echo "reproducible.sh: $compared files are the same bytes"
[ "$compared" -gt 20 ] && [ "$failed" -eq 0 ]
