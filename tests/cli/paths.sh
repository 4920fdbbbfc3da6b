# SPDX-License-Identifier: MIT
#
# otimes paths: its table to read, what is asked for, what the list is worth, and what is wrong.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')
text='def area(self, width): self.width = width; return self.height * self.'

# The table for people: value, totals, the largest paths with what is left, the certificate, edges.
run paths "$model" --text "$text" --top 3
expect_status 0
expect_empty err
expect_match out '^text 0, position 24: \.\.\. '
expect_match out '^predicted token "w" \(#87\): logit \+11\.[0-9]+$'
expect_match out '^  1 head +\+7\.[0-9]+  \++$'
expect_match out '^  L0 L1 +\+0\.[0-9]+ '
expect_match out '^  embed → L1H1 +\+2\.[0-9]+ +23\.[0-9]% +\+2\.[0-9]+ +\+8\.[0-9]+  .* from 11 "w"$'
expect_match out '^  exact: the 3 largest of 57 paths \([0-9]+ chains expanded\)$'
expect_match out '^  L1H1 → target +\+'
[ "$(grep -Ec '^  (embed|pos_embed|L[01] attn bias|bias).*%' "$work/out")" -eq 3 ] ||
    failed "$what: expected three paths"

# All paths sum to what is taken apart; orders and sets of layers too.
sum_of() {
    awk -F '\t' -v a="$1" '$1 == a {s += $NF} END {printf "%.3f", s}' "$work/out"
}
for whose in '--target w' '--target w --against #5' '--loss --positions 10' '--next --positions 3'; do
    # shellcheck disable=SC2086
    run paths "$model" --text "$text" --top 0 --no-flows --format tsv $whose
    expect_status 0
    for of in path_value order_total set_total; do
        [ "$(sum_of $of)" = "$(sum_of frozen_value)" ] ||
            failed "$what: $of: $(sum_of $of), expected $(sum_of frozen_value)"
    done
done

# Only some orders, layers, MLPs as links; a search that its budget ends.
run paths "$model" --text "$text" --order 1 --layers 1 --format tsv --carriers 0 --subsets 0
expect_status 0
expect_match out '^# link_layers: 1$'
expect_match out '^# listed_order: 1$'
expect_match out "^certificate${tab}0${tab}exact: all [0-9]+ paths\$"
expect_match out "^set_total${tab}0${tab}\{\}${tab}"
if grep -Eq "^(carrier_value|set_total${tab}0${tab}L)|L0H" "$work/out"; then
    grep -Eq "^path_label.*L0H" "$work/out" && failed "$what: layer 0 was left out"
fi
run paths "$model" --text "$text" --budget 1 --top 5 --no-flows --format tsv
expect_status 0
expect_match out "^certificate${tab}0${tab}(exact|no unlisted path exceeds)"
run paths "$model" --text "$text" --budget 2.5s --mlp frozen
expect_status 0

# Two texts, two positions of each: four cases.
printf 'a b c d e f\na b\n' >"$work/lines"
run paths "$model" --text-file "$work/lines" --positions 1,-1 --top 2 --edges 1 --format tsv
expect_status 0
expect_match out "^case_text${tab}3${tab}1\$"
expect_match out "^path_case${tab}7${tab}3\$"
expect_match out "^case_count${tab}1${tab}2\$"

# What is wrong, in one line.
run paths "$model"
expect_error 2 'expected a text'
run paths "$model" --text "$text" --target width
expect_error 2 "--target: 'width': expected one token of the vocabulary, got 2: 'w' 'idth'"
run paths "$model" --text "$text" --against nosuchtoken
expect_error 2 "--against: 'nosuchtoken': expected one token"
run paths "$model" --text "$text" --target w --next
expect_error 2 '--next: cannot stand beside --target'
run paths "$model" --text "$text" --loss --against w
expect_error 2 '--against: cannot stand beside --loss'
for budget in x 10m 0 0s -1 1.s ''; do
    run paths "$model" --text "$text" --budget "$budget"
    expect_error 2 '--budget: expected '
done
run paths "$model" --text "$text" --layers 2
expect_error 2 '--layers'
run paths "$model" --text "$text" --positions 25
expect_error 2 'position: expected one from 0 to 24, got 25'
run paths "$model" --text-file "$work/lines" --positions 5
expect_error 2 'text 1: position: expected one from 0 to [0-9], got 5'
run paths "$model" --text "$text" --positions last --next
expect_error 2 'position: expected one from 0 to 23, that a token follows, got -1'
run paths "$model" --text "$text" --memory 100K
expect_error 2 'text 0: memory: expected at most 102400 bytes, its 25 tokens take [0-9]+'
run paths "$model" --text "$text" --order -1
expect_error 2 '--order'
finish
