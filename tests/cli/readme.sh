#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every console block of the README prints what it says. $1: the program, $2: the source root.
set -eu
otimes=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cd "$2"
status=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

awk -v work="$work" '
    /^```console$/ {inside = 1; next}
    /^```$/ {inside = 0}
    inside && /^\$ / {n++; print substr($0, 3) > (work "/" n ".command"); next}
    inside {print > (work "/" n ".expected")}' README.md

for command in "$work"/*.command; do
    base=${command%.command}
    sed "s|build/otimes|$otimes|" "$command" | sh > "$base.got" 2>&1 || true
    if ! cmp -s "$base.expected" "$base.got"; then
        echo "README.md: this command does not print what it says:"
        cat "$command"
        diff "$base.expected" "$base.got" || true
        status=1
    fi
done
exit $status
