# SPDX-License-Identifier: MIT
#
# otimes compare: its tables to read, models beside models, and what is wrong.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')
golden=$root/tests/golden

# One model beside itself: each head's nearest, and the order of its clusters.
run compare "$model" --top 2
expect_status 0
expect_empty err
expect_match out '^space   the residual stream in its own basis$'
expect_match out '^similarity: mean of OV_cka and QK_cka; '
expect_match out '^L0H0      L[0-9]H[0-9] +[01]\.[0-9]{3}  L[0-9]H[0-9] +[01]\.[0-9]{3}$'
expect_match out '^in the order of their clusters:$'
run compare "$model" --similarity kernel --measures cosine --format tsv
expect_status 0
expect_match out '^# similarity_is: mean of Q_kernel, K_kernel, V_kernel and O_kernel$'
expect_match out "^OV_cosine$tab.*${tab}0${tab}0${tab}0${tab}0${tab}(1|1\.0000000|0\.9999999)[0-9]*\$"
if grep -q '^OV_cka' "$work/out"; then
    failed "$what: expected no CKA"
fi

# The same over the vocabulary: the texts of its tokens are those of itself.
cp -r "$model" "$work/again"
run compare "$model" "$work/again" --through vocab --measures cka --top 1
expect_status 0
expect_match out '^space   the vocabulary, centred over its tokens$'
expect_match out '^layers matched: 0 -> 0, 1 -> 1$'
expect_match out '^L1H0    L1H0          1\.000  L1H0    1\.000$'

# Checkpoints: drift of heads, and the pair of strongest K-composition.
run compare "$model" "$work/again" "$model" "$model" --measures cka
expect_status 0
expect_match out '^mean cosine of each head with itself elsewhere; the pair of strongest K-composition over chance$'
expect_match out "^$work/again +1\.000( +1\.000)+  L0H2 L1H0 1\.97\$"
expect_match out '^[0-9]+ of [0-9]+ heads matched with those of the same place; mean similarity 1\.000$'
run compare "$model" "$model" --labels before,after --layers 1 --heads 0,2 --format tsv --match none
expect_status 0
expect_match out "^OV_cosine${tab}after${tab}1${tab}0${tab}1${tab}0$tab"
if grep -q '^match_' "$work/out"; then
    failed "$what: expected no matching"
fi

# Another width over one vocabulary.
run compare "$golden/phi" "$golden/gpt_neo" --same-vocab --match layers --top 1
expect_status 0
expect_match out '^layers matched: 0 -> '
run compare "$golden/phi" "$golden/gpt_neo" --same-vocab --angles --format tsv --measures angles
expect_status 0
expect_match out "^Q_angle_cosines$tab"

# What is wrong, in one line.
run compare "$golden/gpt2" "$golden/llama"
expect_error 1 'd_model is 12 and 16; expected one vocabulary, got 23 and 19 tokens$'
run compare "$golden/phi" "$golden/gpt_neo"
expect_error 1 'd_model is 15 and 10; expected one vocabulary, got 20 tokens each, of which token 0 is '
run compare "$golden/phi" "$golden/gpt_neo" --through stream
expect_error 1 'expected one d_model, got 15 and 10$'
run compare "$model" --heads 99
expect_error 2 '--heads: '
run compare "$golden/llama" "$golden/gpt2_tiny_that_is_not_there"
expect_error 1 'gpt2_tiny_that_is_not_there'
run compare "$model" "$golden/llama" --layers 9
expect_error 2 '--layers: '
run compare "$model" --labels a,b
expect_error 2 '--labels: expected 1 names separated by commas, one for each model, got 2$'
run compare "$model" --measures cosines
expect_error 2 '--measures: '
finish
