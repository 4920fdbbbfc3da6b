# SPDX-License-Identifier: MIT
#
# otimes decompose: its table to read, tokens named by text, positions and points, and what is wrong.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')
text='def area(self, width): self.width = width; return self.height * self.'

# The table for people: the last position and the predicted token, the largest first.
run decompose "$model" --text "$text" --top 3
expect_status 0
expect_empty err
expect_match out '^text 0, position [0-9]+: \.\.\. '
expect_match out '^predicted token ".+" \(#[0-9]+\): logit [+-]'
expect_match out '^  component +logit +norm +cosine$'
expect_match out '^  the others +[+-]'
expect_match out '^  sum +[+-]'
expect_match out '^  final_post +[+-][0-9.]+ +0  0\.[0-9]+  '
[ "$(grep -Ec '^  (L[01]H[0-3]|embed|pos_embed|bias|L[01] attn bias) ' "$work/out")" -eq 3 ] ||
    failed "$what: expected three components"

# A token by its text, by #id, by number; its name is what the axis says.
run decompose "$model" --text "$text" --positions last --target w --format tsv --no-norms
expect_status 0
expect_match out "^target_id${tab}0${tab}24${tab}w${tab}87\$"
cp "$work/out" "$work/by_text"
for same in '#87' 87; do
    run decompose "$model" --text "$text" --positions -1 --target "$same" --format tsv --no-norms
    grep -v '^#' "$work/out" >"$work/got"
    grep -v '^#' "$work/by_text" | cmp -s - "$work/got" || failed "$what: expected what w gives"
done

# Attributions sum to the value, which is the difference of the two tokens' own.
sum_of() {
    awk -F '\t' -v t="$1" '$1 == "attribution" && $4 == t {s += $6} END {printf "%.3f", s}' "$work/out"
}
value_of() {
    awk -F '\t' -v t="$1" '$1 == "target_value" && $4 == t {printf "%.3f", $5}' "$work/out"
}
run decompose "$model" --text "$text" --positions last --target w --target he --target w \
    --against '#5' --against '#5' --against he --format tsv --no-norms --components layers
expect_status 0
expect_match out '^# point: final_post$'
expect_match out '^# components: layers$'
expect_match out "^against_id${tab}0${tab}24${tab}w - he${tab}282\$"
[ "$(sum_of 'w - he')" = "$(value_of 'w - he')" ] || failed "$what: attributions do not sum"

# Points, positions from both ends, texts of different lengths.
printf 'a b c d e f\na b\n' >"$work/lines"
run decompose "$model" --text-file "$work/lines" --positions 0,-1 --at 1.pre --format tsv --lens
expect_status 0
expect_match out '^# point: 1_pre$'
expect_match out '^# targets: the token that follows$'
expect_match out "^lens_rank${tab}0${tab}0${tab}next token${tab}1_pre${tab}[0-9]+\$"
if grep -Eq "^attribution${tab}[01]${tab}1${tab}next token${tab}embed${tab}[-0-9]" "$work/out"; then
    failed "$what: position 1 was not asked for, or has no next token"
fi

# A target of each text's own, in the lines of the texts.
cat >"$work/own.jsonl" <<'EOF'
{"text": "self.width = w", "good": "he", "bad": "w"}
{"text": "return self", "good": [87], "bad": [282]}
EOF
run decompose "$model" --text-file "$work/own.jsonl" --target-field good --against-field bad \
    --positions last --format tsv
expect_status 0
expect_match out "^# targets: each text's own\$"
expect_match out "^target_id${tab}0${tab}[0-9]+${tab}own target${tab}282\$"
expect_match out "^against_id${tab}1${tab}[0-9]+${tab}own target${tab}282\$"
run decompose "$model" --text-file "$work/own.jsonl" --target-field worst
expect_error 1 'own.jsonl:1: expected a member "worst" or "tokens", got neither'
run decompose "$model" --text-file "$work/own.jsonl" --against-field bad
expect_error 2 '--against-field: expected a --target-field beside it'
run decompose "$model" --text "$text" --target-field good
expect_error 2 '--target-field: expected a --text-file of JSON lines, got none'

# What is wrong, in one line.
run decompose "$model"
expect_error 2 'expected a text'
run decompose "$model" --text "$text" --target width
expect_error 2 "--target: 'width': expected one token of the vocabulary, got 2: 'w' 'idth'"
run decompose "$model" --text "$text" --target '#1024'
expect_error 2 "--target: '#1024': expected one token of the vocabulary, got [0-9]+: "
run decompose "$model" --text "$text" --against w
expect_error 2 '--against: expected a --target beside it, got none'
run decompose "$model" --text "$text" --target a --target b --target c --against w --against he
expect_error 2 '--against: expected one for all or one for each --target \(3\), got 2'
run decompose "$model" --text "$text" --target a --predicted
expect_error 2 '--predicted: cannot stand beside --target'
for point in 2 x 1.end -1 ''; do
    run decompose "$model" --text "$text" --at "$point"
    expect_error 2 "--at: expected "
done
run decompose "$model" --text "$text" --at 0.mid
expect_error 1 'layer 0: expected a stream between attention and MLP, got a layer without MLP'
run decompose "$model" --text-file "$work/lines" --positions 4
expect_error 2 'text 1: position: expected -[0-9] to [0-9], got 4'
run decompose "$model" --text "$text" --positions 99
expect_error 2 '--positions: expected an integer from -25 to 25'
run decompose "$model" --text "$text" --full
expect_error 2 '--full: expected --components neurons or all'
run decompose "$model" --text "$text" --memory 100K
expect_error 2 'text 0: memory: expected at most 102400 bytes, '
run decompose "$model" --text '' --no-bos
expect_error 2 'expected at least one token, got none'
finish
