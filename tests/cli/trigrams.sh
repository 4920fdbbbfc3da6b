# SPDX-License-Identifier: MIT
#
# otimes trigrams: its lists to read, heads and tokens chosen by name, and what is wrong.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')

# The lists for people: the strongest head first, at most one trigram a source.
run trigrams "$model"
expect_status 0
expect_empty err
expect_match out '^\[source\] \.\.\. \[destination\] -> \[out\]'
expect_match out '^L[01]H[0-9]+$'
expect_match out '^ +[0-9.]+ +[0-9.]+ +[0-9.]+  .+ \.\.\. .+ -> .+[^ ]$'
[ "$(grep -Ec '^L[01]H' "$work/out")" -ge 4 ] || failed "$what: expected a list for each head"

# Chosen heads, in order; one strength less than the next never.
run trigrams "$model" --head 1.0,0.2-3 --top 4 --format tsv
expect_status 0
expect_match out "^layer${tab}L1H0${tab}1$"
expect_match out "^head${tab}L0H3${tab}3$"
awk -F "$tab" '$1 == "strength" {if (($4 > 0 && $5 > last) || $5 <= 0) bad = 1; last = $5; n++}
    END {exit bad || n != 12}' "$work/out" || failed "$what: strengths do not fall"

# Tokens by #id; a token that stands twice is one.
run trigrams "$model" --head 0.0 --source '#7' --source '#7' --destination '#5' --top 3 --format tsv
expect_status 0
expect_match out '^# source_count: 1$'
expect_match out '^# destination_count: 1$'
if grep -E "^source_id$tab" "$work/out" | cut -f5 | grep -Eqv '^(7|-1|)$'; then
    failed "$what: another source than 7"
fi

run trigrams "$model" --head 0.0 --positions 3,1 --raw-embedding --format tsv
expect_status 0
expect_match out '^# query_position: 3$'
expect_match out '^# raw_embedding: 1$'

# What is wrong, in one line.
wrong() { # status, expected text, options
    wanted=$1
    text=$2
    shift 2
    run trigrams "$model" "$@"
    expect_status "$wanted"
    expect_empty out
    expect_match err "^otimes trigrams: .*$text"
    [ "$(wc -l <"$work/err")" -eq 1 ] || failed "$what: expected one line"
}
wrong 2 "--head: expected LAYER.HEAD or LAYER.FIRST-LAST, got '3'" --head 3
wrong 2 "--head: expected LAYER.HEAD or LAYER.FIRST-LAST, got '0.2-1'" --head 0.2-1
wrong 2 "--head: expected LAYER.HEAD or LAYER.FIRST-LAST, got ''" --head ''
wrong 2 '--head: expected heads from 0.0 to [0-9]+\.[0-9]+, got 0.99' --head 0.99
wrong 2 '--head: expected each head once, got 0.1 again' --head 0.0-1,0.1
wrong 2 '--source: ' --source 'no one token, surely'
wrong 2 '--out: ' --out '#99999999'
wrong 2 '--top: ' --top 0
wrong 2 '--positions: expected Q,K, got .5' --positions 5
wrong 2 'positions: expected a key not behind the query, got 1 and 2' --positions 1,2
wrong 1 'offsets: expected rotary positions, got learned' --offsets 1
wrong 2 '--offsets: ' --offsets x

finish
