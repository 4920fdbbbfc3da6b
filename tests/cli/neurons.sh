# SPDX-License-Identifier: MIT
#
# otimes neurons: its table to read, chosen neurons and experts, and what is wrong.
. "$(dirname "$0")/lib.sh"

model=$root/tests/golden/gpt2
experts=$root/tests/golden/qwen2_moe
tab=$(printf '\t')

# The table for people: the most extreme by kurtosis first.
run neurons "$model" --show 3
expect_status 0
expect_empty err
expect_match out '^neurons  3 of 40 by out_kurtosis'
expect_match out '^neuron +kurtosis +skew +variance +[|]w_out[|] +[|]w_in[|] +cos$'
expect_match out '^ +promotes     "'
expect_match out '^ +heads        from L0H[0-9] 0[.][0-9]{3} [(][0-9.]+[)]'
[ "$(grep -Ec '^L[01]N[0-9]+ ' "$work/out")" -eq 3 ] || failed "$what: expected three neurons"
awk '/^L[01]N/ {if (seen && $2 > last) exit 1; last = $2; seen = 1}' "$work/out" ||
    failed "$what: kurtosis does not fall"

# By other measures; that of skew and cosine is taken without its sign.
for sort in skew:3 variance:4 norm:5 cos:7; do
    run neurons "$model" --sort "${sort%:*}" --show 40
    expect_status 0
    awk -v column="${sort#*:}" '/^L[01]N/ {
        value = $column < 0 ? -$column : $column
        if (seen && value > last) exit 1
        last = value
        seen = 1
    }' "$work/out" || failed "$what: not in order"
done
run neurons "$model" --sort null --null 2 --show 1 --layers 1
expect_status 0
expect_match out 'cos +null$'
run neurons "$model" --sort heads --show 1 --composition
expect_status 0
expect_match out 'to K of L1H[0-9]'
expect_match out '^neurons  1 of 20 by k_score' # the last layer writes to no head
run neurons "$model" --sort null
expect_error 2 '--sort: expected what is computed, got null_share, which is not'
run neurons "$model" --sort kurtosis --no-vocab
expect_error 2 '--sort: expected what is computed, got out_kurtosis, which is not'

# Chosen ones, all tables.
run neurons "$model" --neurons 3,5 --layers 0 --composition --top 1 --format tsv --no-reads
expect_status 0
expect_match out '^# baseline_dimension: 11$'
expect_match out '^# writing_side: W_out and W_O as they are$'
[ "$(grep -Ec "^q_table${tab}0${tab}[35]${tab}1${tab}[012]${tab}0[.]" "$work/out")" -eq 6 ] ||
    failed "$what: expected three heads for each of two neurons"
[ "$(grep -Ec "^out_top_id${tab}0${tab}[35]${tab}0${tab}" "$work/out")" -eq 2 ] ||
    failed "$what: expected a token for each"
if grep -q '^in_top_id' "$work/out"; then
    failed "$what: expected nothing of what is read"
fi
run neurons "$model" --composition=none --no-vocab --no-reads --format tsv
expect_status 0
if grep -Eq '^(out_mean|in_mean|q_score)' "$work/out"; then
    failed "$what: expected norms and cosines alone"
fi

# Experts, by number or by their neurons.
run neurons "$experts" --experts 1,3 --layers 1 --format tsv
expect_status 0
cp "$work/out" "$work/experts"
expect_match out '^# neurons_of: experts: of expert x from x d_expert on, the shared expert last$'
expect_match out "^expert${tab}1${tab}15${tab}3\$"
run neurons "$experts" --neurons 5-9,15-21 --layers 1 --format tsv
expect_status 0
grep -v '^#' "$work/out" >"$work/a"
grep -v '^#' "$work/experts" | cmp -s - "$work/a" || failed "$what: expected the same as by --experts"
run neurons "$experts" --show 1
expect_match out '  expert [0-3]$'
expect_match out '^ +gate reads '
run neurons "$root/tests/golden/gemma2" --show 1
expect_match out 'w_out is times the weight of the norm behind it'

# What is wrong, in one line.
run neurons "$root/tests/golden/transformer_lens"
expect_error 1 'neurons: expected a model with MLPs, got attention alone'
run neurons "$model" --neurons 20
expect_error 2 '--neurons: '
run neurons "$model" --layers 2
expect_error 2 '--layers: '
run neurons "$model" --experts 0
expect_error 2 '--experts: expected a model with experts, got gpt2'
run neurons "$experts" --experts 4
expect_error 2 '--experts: expected 0 to 3, got 4'
run neurons "$experts" --experts 0 --neurons 1
expect_error 2 '--neurons, --experts: expected one of them, got both'
run neurons "$model" --null 13
expect_error 2 'null directions: expected 0 to 12 of d_model, got 13'
run neurons "$model" --sort size
expect_error 2 '--sort'
finish
