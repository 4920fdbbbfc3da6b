#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The sanitizers of a build, or valgrind on one without, see what planted.c plants, each in its own words.
# Usage: sh planted.sh PLANTED SANITIZERS    as in b_sanitize
set -eu
planted=$1 under='' failed=0
said=$(mktemp)
trap 'rm -f "$said"' EXIT

# fault, what is said of it
sees() {
    status=0
    # shellcheck disable=SC2086 # words on purpose
    $under "$planted" "$1" >"$said" 2>&1 || status=$?
    if [ "$status" -eq 0 ] || ! grep -q "$2" "$said"; then
        echo "planted.sh: expected '$2' of $1, got exit status $status and:"
        cat "$said"
        failed=1
    fi
}

case $2 in
none)
    command -v valgrind >/dev/null || {
        echo "skipped: no valgrind"
        exit 77
    }
    under='valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite'
    sees grown 'depends on uninitialised value'
    sees unset 'depends on uninitialised value'
    sees overrun 'Invalid read of size 8'
    sees leak 'definitely lost'
    ;;
thread)
    sees race 'WARNING: ThreadSanitizer: data race'
    ;;
memory)
    sees grown 'WARNING: MemorySanitizer: use-of-uninitialized-value'
    sees unset 'WARNING: MemorySanitizer: use-of-uninitialized-value'
    ;;
address,undefined)
    sees overrun 'ERROR: AddressSanitizer: heap-buffer-overflow'
    sees returned 'ERROR: AddressSanitizer: stack-use-after-return'
    sees leak 'ERROR: LeakSanitizer: detected memory leaks'
    sees overflow 'runtime error: signed integer overflow'
    sees cast 'runtime error: 1e+30 is outside the range'
    ;;
*)
    echo "planted.sh: nothing is known of the sanitizers '$2'"
    failed=1
    ;;
esac
exit $failed
