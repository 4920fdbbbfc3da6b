# SPDX-License-Identifier: MIT
#
# otimes patterns: the table for people, texts, patterns of one's own, and what is refused.
. "$(dirname "$0")/lib.sh"

model=$root/notebooks-data/induction-2l
[ -f "$model/model.safetensors" ] || exit 77
tab=$(printf '\t')

# The heads that its README names, on random tokens and without a text.
run patterns "$model" --repeated 32
expect_status 0
expect_empty err
expect_match out '^model   .*induction-2l, 2 layers of 4 heads$'
expect_match out '^random  16 sequences of 32 random tokens written twice, seed 0$'
expect_match out '^induction, random tokens +L1H1 +0\.9[0-9]  L1H0 +0\.9[0-9]  L1H3 +0\.[67][0-9]$'
expect_match out '^previous token, random tokens +L0H2 +0\.9[0-9]$'
expect_match out '^duplicate token, random tokens +none$'
if grep -q ', text\|^texts' "$work/out"; then
    failed "$what: expected nothing about texts"
fi

# On a text, with its strongest keys.
run patterns "$model" --text 'self.x = self.y' --top 2 --layers 0 --heads 2
expect_status 0
expect_match out '^texts   1 text, [0-9]+ tokens$'
expect_match out '^previous token, text +L0H2 +(0\.9[0-9]|1\.00)$'
expect_match out '^L0H2    query <- strongest keys$'
expect_match out '^   1 "[^"]*"  <-   0 "[^"]*" [01]\.[0-9]{2}   1 "'
if grep -q 'L0H3\|L1H0\|r\.:' "$work/out"; then
    failed "$what: expected head 0.2 alone"
fi

# A token alone has no query but itself.
run patterns "$model" --tokens 5
expect_status 0
expect_match out '^texts   1 text, 1 token$'
expect_match out '^previous token, text +no query to see it on$'
run patterns "$model" --tokens 5 --format tsv
expect_status 0
expect_match out "^previous_token${tab}0${tab}0${tab}0${tab}nan\$"
expect_match out "^current_token${tab}0${tab}1${tab}3${tab}1\$"
expect_match out "^query_count${tab}0${tab}current_token${tab}1\$"
if grep -q "^\(sink\|next_token\|pattern\|repeated\|top\|offset\)" "$work/out"; then
    failed "$what: expected nothing that was not asked for"
fi

# A pattern of one's own: the diagonal below the main one is the previous token.
printf '# the token before\n\n1\t0\n3\t2\t1\n2\t1\t1.0\n' >"$work/previous"
run patterns "$model" --tokens 5,6,7,8 --pattern "$work/previous" --offsets 1 --format tsv
expect_status 0
awk -F '\t' '$1 == "previous_token" || $1 == "pattern_score" || $1 == "offset_score" {
        value[$1, $3, $4] = $NF}
    END {for (l = 0; l < 2; l++) for (h = 0; h < 4; h++) {
            a = value["previous_token", l, h]
            b = value["pattern_score", l, h]
            c = value["offset_score", l, h]
            if (a == "" || (a - b) ^ 2 > 1e-24 || (a - c) ^ 2 > 1e-24) exit 1}}' "$work/out" ||
    failed "$what: expected three times the same scores"

run patterns "$model"
expect_error 2 '--text: expected a text, a --text-file, --tokens or --repeated, got none'
run patterns "$model" --text x --tokens 5
expect_error 2 '--tokens: cannot stand beside --text'
for option in --offsets=1 --positions=1 --top=2 --full "--pattern=$work/previous"; do
    run patterns "$model" --repeated 4 $option
    expect_error 2 "^otimes patterns: ${option%%=*}: expected a text"
done
run patterns "$model" --repeated 65
expect_error 2 'expected at most 128, the model.s positions, which is 64 tokens twice'
for option in --repeated --count; do
    for junk in '' 0 -1 x 1.5; do
        run patterns "$model" --repeated 4 $option="$junk"
        expect_error 2 "$option: expected "
    done
done
run patterns "$model" --repeated 4 --random-tokens 5,99999
expect_error 2 '--random-tokens'
run patterns "$model" --tokens 5,6 --positions 2
expect_error 2 '--positions: '
for junk in '' x 1,1 1.5; do
    run patterns "$model" --tokens 5,6 --offsets="$junk"
    expect_error 2 '--offsets'
done
run patterns "$model" --tokens 5,6 --memory 10K
expect_error 2 'memory: expected at most 10240 bytes'

# Files that are no pattern, each with its line.
bad() {
    printf '%b' "$1" >"$work/bad"
    run patterns "$model" --tokens 5,6,7 --pattern "$work/bad"
    expect_error 2 "$2"
}
bad '' 'bad: expected an entry a line, got none'
bad '1\t0\n2\n' "bad: line 2: expected query, key and perhaps a weight between tabs, got '2'"
bad '1\t0\t1\t1\n' 'bad: line 1: expected query'
bad '1\tx\n' 'bad: line 1: expected '
bad '-1\t0\n' 'bad'
bad '1\t0\theavy\n' "bad: line 1: expected a weight, got 'heavy'"
bad '1\t0\tnan\n' 'line 1: expected a weight'
bad '1\t0\n1\t0\n' 'expected each pair once, got query 1, key 0 again'
bad '1\t0\n3\t0\n' 'expected positions from 0 to 2 .*got query 3, key 0'
bad '1\t0\n1\0\t1\n' 'line 2: expected query'
run patterns "$model" --tokens 5,6,7 --pattern "$work/none"
expect_error 1 'none: cannot be opened'
finish
