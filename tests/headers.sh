#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Each public header compiles alone, as C11 and as C++. Compilers: $CC, $CXX.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
checked=0

# Twice, so that the include guard is tried too.
check() { # header, language, compiler and options ...
    header=$1
    language=$2
    shift 2
    printf '#include <%s>\n#include <%s>\n' "$header" "$header" >"$work/alone.$language"
    if "$@" -Wall -Wextra -pedantic -Werror -I "$root/lib/include" -fsyntax-only \
        "$work/alone.$language"; then
        checked=$((checked + 1))
    else
        echo "headers.sh: $header does not compile alone as $language" >&2
        failed=1
    fi
}

cxx=${CXX:-c++}
command -v "$cxx" >/dev/null || cxx=
for path in "$root"/lib/include/otimes/*.h; do
    header=otimes/${path##*/}
    # shellcheck disable=SC2086 # a compiler can be several words
    check "$header" c ${CC:-cc} -std=c11 -Wstrict-prototypes -Wundef
    if [ -n "$cxx" ]; then
        check "$header" cpp "$cxx" -std=c++11 -Wundef
    fi
done
[ -n "$cxx" ] || echo "headers.sh: no C++ compiler: C++ was not checked" >&2
echo "headers.sh: $checked checks passed"
[ "$checked" -gt 0 ] && [ "$failed" -eq 0 ]
