# SPDX-License-Identifier: MIT
#
# otimes qk: the induction test to read, rotary offsets, and what is wrong.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')

# The induction test comes first, then the forms of the first pairs.
bundled=$root/notebooks-data/induction-2l
run qk "$bundled"
expect_status 0
expect_empty err
expect_match out '^h1 h2 +previous +K-copy +OV-copy +K-ratio +match +product$'
expect_match out '^L0H2 L1H1 .*  induction$'
expect_match out '^L0H2 L1H1 +K-composed +[0-9.]+ +[0-9.]+ +[0-9.]+ '
[ "$(grep -c '  induction$' "$work/out")" -eq 3 ] || failed "$what: expected three induction pairs"
awk '/ induction$/ {if (seen && $8 > last) exit 1; last = $8; seen = 1}' "$work/out" ||
    failed "$what: products do not fall"

run qk "$bundled" --entries 0 --top 1 --heads 1,2 --format tsv
expect_status 0
expect_match out '^# least_match: 0.2'
expect_match out "^is_induction${tab}L0H2 L1H1${tab}1\$"
if grep -q '^entry_value' "$work/out"; then
    failed "$what: expected no entries"
fi

# Restricted entries.
run qk "$bundled" --tokens 5,7 --top 1 --entries 4 --format tsv
expect_status 0
[ "$(grep -Ec "^entry_source_id$tab.*K-composed$tab.*$tab[57]$tab" "$work/out")" -eq 4 ] ||
    failed "$what: expected sources 5 and 7"

# Rotary models, at offsets of their own.
rotary=$root/tests/golden/qwen2
run qk "$rotary" --offsets 1,-2 --entries 0 --format tsv
expect_status 0
expect_match out "^score${tab}.*${tab}K-composed${tab}-2${tab}"
run qk "$root/tests/golden/gemma3_text" --top 2
expect_status 0
expect_match out 'a norm stands behind W_O in this model'
expect_match out 'not told: '

# What is wrong, in one line.
run qk "$bundled" --offsets 1
expect_error 1 'offsets: expected rotary positions, got learned'
run qk "$rotary" --offsets 1,x
expect_error 2 '--offsets: '
run qk "$bundled" --layers 1
expect_error 1 'QK of pairs of heads: expected at least 2 layers, got 1'
run qk "$bundled" --heads 9
expect_error 2 '--heads: '
run qk "$bundled" --tokens 99999999
expect_error 2 '--tokens: '
run qk "$bundled" --top -1
expect_error 2 '--top: '
run qk
expect_status 2
finish
