#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs what is missing on Debian or Ubuntu, then configures and compiles build/.
# Usage: sh tools/setup.sh [--tests] [meson options ...]
#        --tests also installs what only tests use: a browser, what reads man pages and completion, and
#        what looks for faults in the program as it runs
#        sh tools/setup.sh --print-meson      which meson it uses, once it is there
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
packages="build-essential meson ninja-build pkg-config libopenblas-openmp-dev liblapacke-dev
libhdf5-dev libjansson-dev libssl-dev libpcre2-dev libutf8proc-dev libsleef-dev libcmocka-dev
python3 python3-venv hdf5-tools"

say() {
    printf 'setup: %s\n' "$*" >&2
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Whether a meson is there, runs, and is at least 0.63: the one in PATH may be of elsewhere.
good_meson() {
    version=$("$1" --version 2>/dev/null) || return 1
    major=${version%%.*}
    rest=${version#*.}
    minor=${rest%%.*}
    case $major$minor in
    *[!0-9]* | '') return 1 ;;
    esac
    [ "$major" -gt 0 ] || [ "$minor" -ge 63 ]
}

if [ "${1-}" = --tests ]; then
    packages="$packages chromium mandoc zsh clang clang-tidy cppcheck llvm libclang-rt-dev libomp-dev valgrind"
    shift
fi

find_meson() {
    for candidate in meson /usr/bin/meson; do
        if good_meson "$candidate"; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

if [ "${1-}" = --print-meson ]; then
    find_meson
    exit
fi

have() {
    command -v "$1" >/dev/null 2>&1
}

missing=
for package in $packages; do
    case $package in
    build-essential) have cc || missing="$missing $package" ;;
    python3) have python3 || missing="$missing $package" ;;
    meson) find_meson >/dev/null || missing="$missing $package" ;;
    ninja-build) have ninja || missing="$missing $package" ;;
    pkg-config) have pkg-config || missing="$missing $package" ;;
    *) ! have dpkg-query || installed "$package" || missing="$missing $package" ;;
    esac
done

if ! have apt-get; then
    say "no apt-get here: this script installs nothing. otimes needs a C11 compiler, meson >= 0.63,"
    say "ninja, pkg-config, and the development files of OpenBLAS, LAPACKE, HDF5, jansson, OpenSSL,"
    say "PCRE2 >= 10.40, utf8proc, SLEEF and cmocka; where they are present the build below succeeds."
elif [ -n "$missing" ]; then
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if ! have sudo; then
            say "missing:$missing"
            say "run as root: apt-get install$missing"
            exit 1
        fi
        as_root=sudo
    fi
    say "installing$missing"
    $as_root apt-get update -q || say "apt-get update failed; trying with the lists at hand"
    # shellcheck disable=SC2086 # words on purpose
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends $missing
fi

if ! meson=$(find_meson); then
    say "no working meson >= 0.63 found"
    exit 1
fi
build=$root/build
if [ -f "$build/build.ninja" ]; then
    [ $# -eq 0 ] || "$meson" configure "$build" "$@"
else
    "$meson" setup --buildtype release "$@" "$build" "$root"
fi
"$meson" compile -C "$build"
