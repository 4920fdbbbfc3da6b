#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Fuzzes the targets named, or all, one after the other, each so many minutes. What was found before is
# kept in build/fuzz/TARGET (corpus, executions, findings), so that runs add up. A finding ends its
# target's run, and the script with 1.
# Usage: sh tests/fuzz/run.sh [--quick] MINUTES [TARGET...]
#                                                      --quick: comparisons are not traced, which is two
#                                                      to four times as fast, for corpora that have the
#                                                      words and numbers of their format
#        sh tests/fuzz/run.sh --minimise [TARGET...]   corpora kept into tests/fuzz/corpus, as few inputs
#                                                      as reach the same edges
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/fuzz
build=$root/build/fuzz
SECONDS_MOST=10 # that one input may take
MEGABYTES=512   # that the process may hold; a single allocation is held to what fuzz.h allows
INTERRUPTED=72  # libFuzzer's exit status then

export OTIMES_SOURCE="$root" OMP_WAIT_POLICY=passive
# Short traces and a small quarantine: allocations are most of an execution's time.
export ASAN_OPTIONS="malloc_context_size=4:quarantine_size_mb=8:${ASAN_OPTIONS-}"

usage() {
    sed -n 's/^# Usage: //p; s/^#        //p' "$0" >&2
    exit 2
}

tracing= built=$build
if [ "${1-}" = --quick ]; then
    tracing=-fno-sanitize-coverage=trace-cmp built=$build-quick
    shift
fi
[ $# -ge 1 ] || usage
minutes=$1
shift
case $minutes in
--minimise) ;;
'' | 0 | *[!0-9]*) usage ;;
esac
[ $# -gt 0 ] || set -- $(cd "$here" && ls fuzz_*.c | sed 's/^fuzz_\(.*\)\.c$/\1/')
for target; do
    [ -f "$here/fuzz_$target.c" ] || { echo "run.sh: no target $target" >&2; exit 2; }
done

if [ ! -f "$built/build.ninja" ]; then
    CC=${CC-clang} "$(sh "$root/tools/setup.sh" --print-meson)" setup "$built" "$root" >/dev/null \
        -Dfuzzing=enabled -Dblas=reference -Dvmath=reference -Doptimization=2 -Db_lundef=false \
        -Db_sanitize=address,undefined \
        "-Dc_args=-fsanitize=fuzzer-no-link $tracing -fno-sanitize-recover=undefined -g1"
fi
# shellcheck disable=SC2046 # words on purpose
ninja -C "$built" $(for target; do echo "tests/fuzz/fuzz_$target"; done) >"$built/build.log" ||
    { cat "$built/build.log" >&2; exit 1; }

# Bytes of an input: short ones are fast, and every path begins with few. What an expression takes by
# itself grows with the square of its text, or worse.
longest() {
    case $1 in
    pattern) echo 48 ;;
    *) echo 2048 ;;
    esac
}

# What earlier runs found, what the tree keeps, and what is cut from models.
folders() {
    echo "$build/$1/corpus"
    for folder in "$here/corpus/$1" "$build/$1/seeds"; do
        [ ! -d "$folder" ] || echo "$folder"
    done
}

prepare() {
    mkdir -p "$build/$1/corpus" "$build/$1/findings"
    for script in "$here"/seeds*.py; do
        python3 "$script" "$1" "$build/$1/seeds"
    done
}

minimise() {
    fresh=$build/$1/minimised
    rm -rf "$fresh"
    mkdir -p "$fresh" "$here/corpus/$1"
    # shellcheck disable=SC2046
    "$built/tests/fuzz/fuzz_$1" -merge=1 -use_counters=0 -max_len="$(longest "$1")" "$fresh" $(folders "$1") \
        >"$build/$1/log" 2>&1
    find "$here/corpus/$1" -type f ! -name 'found-*' -delete
    find "$fresh" -type f -exec cp {} "$here/corpus/$1" \;
    echo "$1: $(ls "$here/corpus/$1" | wc -l) inputs of $(cat "$here/corpus/$1"/* | wc -c) bytes"
}

fuzz() {
    dictionary=
    [ ! -f "$here/$1.dict" ] || dictionary=-dict=$here/$1.dict
    rc=0
    # Inputs that take long are changed less often.
    # shellcheck disable=SC2046,SC2086
    "$built/tests/fuzz/fuzz_$1" -max_total_time=$((minutes * 60)) -max_len="$(longest "$1")" \
        -entropic_scale_per_exec_time=1 -timeout=$SECONDS_MOST -rss_limit_mb=$MEGABYTES -print_final_stats=1 \
        -artifact_prefix="$build/$1/findings/" $dictionary $(folders "$1") >"$build/$1/log" 2>&1 || rc=$?
    now=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$1/log")
    before=$(cat "$build/$1/executions" 2>/dev/null || echo 0)
    echo $((before + ${now:-0})) >"$build/$1/executions"
    echo "$1: ${now:-0} executions, $(cat "$build/$1/executions") in all," \
        "$(sed -n 's/.*cov: \([0-9]*\).*/\1/p' "$build/$1/log" | tail -1) edges"
    [ $rc -ne 0 ] || return 0
    failed=1
    [ $rc -ne $INTERRUPTED ] || exit 1
    echo "$1: a finding:"
    grep -E '^fuzz: |runtime error|^SUMMARY|ERROR: libFuzzer|Test unit written' "$build/$1/log" || tail -5 "$build/$1/log"
    echo "again: OTIMES_SOURCE=$root $built/tests/fuzz/fuzz_$1 FILE"
}

failed=0
for target; do
    prepare "$target"
    if [ "$minutes" = --minimise ]; then minimise "$target"; else fuzz "$target"; fi
done
exit $failed
