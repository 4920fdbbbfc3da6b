# SPDX-License-Identifier: MIT
#
# The text form: attributes first, then one line an entry.
. "$(dirname "$0")/lib.sh"

need_model

run bigram "$model" --top 2 --rows 0-2
expect_status 0
expect_match out '^# schema: otimes-bigram$'
expect_match out '^# schema_version: 1$'
expect_match out '^# date: [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$'
expect_match out '^# top_value: \[token, rank\], units '
[ "$(head -n 1 "$work/out")" = '# schema: otimes-bigram' ] || failed "$what: schema is not first"
awk -F '\t' '
    /^#/ {next}
    $1 ~ /^(top|bottom)_(value|log_prob)$/ {n[$1]++; if (NF != 4) bad = 1; next}
    $1 ~ /^(top|bottom)_id$/ {n[$1]++; if (NF != 5) bad = 1; next}
    NF != 3 {bad = 1}
    END {
        if (n["top_value"] != 6 || n["top_id"] != 6 || n["bottom_id"] != 6) bad = 1
        exit bad
    }' "$work/out" || failed "$what: expected 3 x 2 entries with their labels"

# Nothing but tab, newline and printing bytes: tokens hold the rest, spelt out.
run bigram "$model" --top 1
expect_status 0
[ "$(tr -d '\t\n\040-\176\200-\377' <"$work/out" | wc -c)" -eq 0 ] ||
    failed "$what: control characters in the output"

run bigram "$model" --top 1 --format null
expect_status 0
expect_empty out
expect_match err '^otimes bigram: [1-9][0-9]* bytes of results computed and not kept$'
run bigram "$model" --top 1 --format null --quiet
expect_status 0
expect_empty err

run info "$model"
expect_status 0
expect_match out '^architecture  '
expect_match out '^d_model  +[0-9]+$'
expect_match out '^fold_ln  +(applied|off|not applicable|done in the file)$'
expect_match out '^total  +[0-9]+$'
run info "$model" --raw
expect_match out '^fold_ln  +(off|not applicable|done in the file)$'
run info "$model" --tensors
expect_status 0
expect_match out '^  [^ ]+  F32 \['
finish
