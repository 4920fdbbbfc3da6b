# SPDX-License-Identifier: MIT
#
# otimes virtual: its table to read, chosen chains, a search cut short, and what is wrong.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')

# The table for people: pairs, the strongest first.
run virtual "$model" --top 3
expect_status 0
expect_empty err
expect_match out '^chains of 2 heads: [0-9]+, of which [0-9]+ were looked at; these are the strongest$'
expect_match out '^chain +norm +expected +ratio +copying  strongest source -> output$'
[ "$(grep -Ec '^L0H[0-9] L1H[0-9] +[0-9.]+ +[0-9.]+ +[0-9.]+ +-?[01]\.[0-9]{2}  ' "$work/out")" -eq 3 ] ||
    failed "$what: expected three chains"
awk '/^L0/ {if (seen && $5 > last) exit 1; last = $5; seen = 1}' "$work/out" ||
    failed "$what: ratios do not fall"

# A chosen chain is the pair of the table of all pairs.
run virtual "$model" --chain 0.1,1.0 --format tsv --no-vocab
expect_status 0
expect_match out '^# chains: chosen$'
expect_match out "^chain_head${tab}L0H1 L1H0${tab}0${tab}1\$"
pair=$(awk -F '\t' '$1 == "pair_norm" && $2 == 0 && $3 == 1 && $4 == 1 && $5 == 0 {printf "%.9g", $6}' "$work/out")
norm=$(awk -F '\t' '$1 == "norm" {printf "%.9g", $3}' "$work/out")
[ -n "$pair" ] && [ "$pair" = "$norm" ] || failed "$what: expected $pair, got $norm"
if grep -q '^full_norm' "$work/out"; then
    failed "$what: expected nothing over the vocabulary"
fi

# Restricted tables.
run virtual "$model" --tokens 5,7 --top 1 --entries 4 --format tsv
expect_status 0
[ "$(grep -Ec "^entry_source_id$tab.*$tab[57]$tab" "$work/out")" -eq 4 ] ||
    failed "$what: expected sources 5 and 7"

# Longer chains, all of them and some of them.
deep=$root/tests/golden/gemma3_text
run virtual "$deep" --length 4 --top 3
expect_status 0
expect_match out '^chains of 4 heads: '
expect_match out '^L0H[0-9] L1H[0-9] L2H[0-9] L3H[0-9] '
expect_match out 'a norm stands behind W_O in this model'
run virtual "$deep" --length 4 --top 3 --budget 5
expect_status 0
expect_match out 'none that is not listed exceeds [0-9.]+$'
run virtual "$deep" --length 3 --strength norm --budget 5 --format tsv --no-vocab
expect_match out '^# complete: 0$'
expect_match out '^# strength: norm$'

# What is wrong, in one line.
for chain in 0 0.1 0.1,1 0.1, ,0.1 0.1,x.1 0.1,1.1.1 ''; do
    run virtual "$model" --chain "$chain"
    expect_error 2 '--chain: expected '
done
run virtual "$model" --chain 1.0,0.1
expect_error 2 "--chain: expected ascending layers, got '1.0,0.1'"
run virtual "$model" --chain 0.1,1.99
expect_error 2 '--chain: expected an integer from 0 to [0-9]+, got'
run virtual "$model" --chain 0.1,1.1 --heads 0
expect_error 2 'chain 0: head 0.1: expected one of the chosen heads'
run virtual "$model" --length 99
expect_error 2 'length: expected 2 to [0-9]+ heads, got 99'
run virtual "$model" --layers 1
expect_error 1 'virtual heads: expected at least 2 layers, got 1'
run virtual "$model" --tokens 99999999
expect_error 2 '--tokens: '
finish
