# SPDX-License-Identifier: MIT
#
# What the command line tests share. Each is run as: sh x.sh <otimes> <source root>
# A test calls functions below and ends with `finish`.
# Paths that still hold where a test changes its folder.
otimes=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$(cd "$2" && pwd)
# No surprise from the caller's surroundings.
unset SOURCE_DATE_EPOCH
LC_ALL=C
export LC_ALL

work=$(mktemp -d "${TMPDIR:-/tmp}/otimes-cli.XXXXXX") || exit 1
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
failures=0
status=0

failed() {
    printf 'FAILED: %s\n' "$*"
    failures=$((failures + 1))
}

# The model tests run on: the bundled one, or a golden one. Exit 77 is "skipped" for meson.
need_model() {
    for model in "$root/notebooks-data/induction-2l" "$root/tests/golden/gpt2"; do
        if [ -f "$model/model.safetensors" ]; then
            return 0
        fi
    done
    echo "skipped: no model in the tree"
    exit 77
}

# Runs otimes with the arguments; status, $work/out and $work/err are what came of it.
run() {
    what="otimes $*"
    status=0
    "$otimes" "$@" >"$work/out" 2>"$work/err" || status=$?
}

expect_status() {
    [ "$status" -eq "$1" ] || {
        failed "$what: expected exit status $1, got $status"
        sed 's/^/    /' "$work/err"
    }
}

# file (out or err), extended regular expression
expect_match() {
    grep -Eq -e "$2" "$work/$1" || {
        failed "$what: expected $1 to match '$2', got:"
        sed 's/^/    /' "$work/$1"
    }
}

expect_empty() {
    [ ! -s "$work/$1" ] || {
        failed "$what: expected nothing on $1, got:"
        head -n 5 "$work/$1" | sed 's/^/    /'
    }
}

# Exactly one line on stderr, of the form "otimes[ command]: ...", that matches; nothing on stdout.
expect_error() {
    expect_status "$1"
    expect_empty out
    [ "$(wc -l <"$work/err")" -eq 1 ] || {
        failed "$what: expected one line of error, got:"
        sed 's/^/    /' "$work/err"
    }
    expect_match err '^otimes( [a-z]+)?: .'
    expect_match err "$2"
}

expect_absent() {
    for unwanted in "$@"; do
        [ ! -e "$unwanted" ] || failed "$what: expected no $unwanted"
    done
}

expect_file() {
    [ -s "$1" ] || failed "$what: expected $1"
}

# Every command the program knows, from its own help.
commands() {
    "$otimes" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'
}

# Those that take a model.
model_commands() {
    commands | grep -Ev '^(diff|plot)$'
}

# Those of them that write results in any --format.
result_commands() {
    model_commands | grep -v '^report$'
}

# Those that open its weights.
weight_commands() {
    model_commands | grep -v '^tokens$'
}

# What a command needs beside its model to have something to say.
words_of() {
    case $1 in
    activations) echo "--names *.hook_resid_* --tokens 5,9,17,5,9,17,5,9" ;;
    ablate | decompose | logits | orders | paths | patterns | tokens)
        echo "--tokens 5,9,17,5,9,17,5,9"
        ;;
    esac
}

# The folder of a model that it can run on.
folder_of() {
    case $1 in
    neurons) echo "$root/tests/golden/gpt2" ;;
    *) echo "$model" ;;
    esac
}

# A model of llama2.c, which is numbers one behind the other: here those of the tree's own.
put_int() {
    printf '%b' "\\0$(printf %03o $(($1 % 256)))\\0$(printf %03o $(($1 / 256)))\\0000\\0000"
}

# file, d_model, d_mlp, layers, heads, vocabulary
make_model() {
    count=$(($6 * $2 + $4 * (2 * $2 + 4 * $2 * $2 + 3 * $2 * $3) + $2 + 16 * $2 / $5))
    size=$(wc -c <"$model/model.safetensors")
    {
        for number in "$2" "$3" "$4" "$5" "$5" "$6" 16; do
            put_int "$number"
        done
        copies=$((5 * count / size + 1))
        while [ $copies -gt 0 ]; do
            tail -c $((size / 40 * 36)) "$model/model.safetensors"
            copies=$((copies - 1))
        done | head -c $((4 * count))
    } >"$1"
}

# Next of a sequence of shares of 1000 that begins at `seed`, in `share`.
draw() {
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    share=$((seed / 65536 % 1000))
}

now() {
    date +%s%N
}

finish() {
    [ "$failures" -eq 0 ] || exit 1
    exit 0
}
