# SPDX-License-Identifier: MIT
#
# otimes orders: what is asked for, what is printed, and what cannot be.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')
text='def f(self, x): return self.x'

# The text for people: losses fall into place by order, the last is the model's own.
run orders "$model" --text "$text"
expect_status 0
expect_empty err
expect_match out '^frozen +patterns, norm scales$'
expect_match out '^none +[0-9]+\.[0-9]{4}$'
expect_match out '^order 0 +[0-9]+\.[0-9]{4} +-?[0-9]+\.[0-9]{4}$'
expect_match out '^up to order 2 +[0-9]+\.[0-9]{4} +-?[0-9]+\.[0-9]{4}$'
expect_match out '^L1 +[0-9]+\.[0-9]{4} +-?[0-9]+\.[0-9]{4} +[0-9]+\.[0-9]{4} +-?[0-9]+\.[0-9]{4}$'
awk '/^up to order/ {loss = $(NF - 1)} /^the model/ {gap = loss - $NF}
    END {exit !(gap > -0.00015 && gap < 0.00015)}' "$work/out" ||
    failed "$what: expected the last order to be the model"
model_loss=$(awk '/^the model/ {print $NF}' "$work/out")
run logits "$model" --text "$text"
expect_match out "^mean loss $model_loss nats"

run orders "$model" --text "$text" --norms recomputed --no-shares
expect_status 0
expect_match out "^frozen .*the final norm's recomputed"
if grep -q '^heads of' "$work/out"; then
    failed "$what: expected no shares"
fi
run orders "$root/tests/golden/gpt2" --tokens 1,2,3 --mlp frozen
expect_status 0
expect_match out '^MLPs +links, gates frozen$'
run orders "$root/tests/golden/mixtral" --tokens 1,2,3 --mlp frozen
expect_match out '^MLPs +links, gates frozen; layers of experts sources$'

# The same as arrays, several texts, all positions or the last ones.
printf '%s\nself.y = 1 + self.z\n' "$text" >"$work/lines"
run orders "$model" --text-file "$work/lines" --full --from 2 --format tsv
expect_status 0
expect_match out '^# schema: otimes-orders$'
expect_match out '^# first_position: 2$'
expect_match out "^loss${tab}1${tab}2${tab}[0-9.]+\$"
expect_match out "^token_loss${tab}0${tab}0${tab}2${tab}[0-9.]+\$"
expect_match out "^token_loss${tab}0${tab}0${tab}1${tab}nan\$"
run orders "$model" --text x --from 500 --format tsv
expect_match out "^predicted_tokens${tab}0${tab}0\$"
expect_match out "^loss${tab}0${tab}0${tab}nan\$"
run orders "$model" --text x --from 500
expect_match out '^No token comes behind position 500 of any text\.$'

# What it takes, before it runs, and no more.
run orders "$model" --text-file "$work/lines" --plan
expect_status 0
expect_match out '^memory of a pass '
expect_match out '^memory with paths +[0-9.]+ MiB  the pass included, weights kept$'
run orders "$model" --text-file "$work/lines" --stream --memory 1 --format null
expect_error 2 'memory: expected at least [0-9]+ bytes for a text of [0-9]+ tokens, got 1$'
least=$(sed 's/.*at least \([0-9]*\) bytes.*/\1/' "$work/err")
run orders "$model" --text-file "$work/lines" --stream --memory "$least" --format null
expect_status 0

# What is wrong is said in a line.
run orders "$model"
expect_error 2 '--text: expected a text'
run orders "$model" --text ''
expect_error 2 'expected at least one token, got none'
run orders "$model" --tokens 1,99999999
expect_error 2 "--tokens: expected .* got '?99999999"
for options in '--mlp zero' '--norms thawed' '--from -1' '--from x' '--shares=1'; do
    # shellcheck disable=SC2086 # words on purpose
    run orders "$model" --text x $options
    expect_error 2 "${options%%[ =]*}"
done
run orders "$root/tests/golden/transformer_lens_none" --tokens 1,2,3
expect_status 1
expect_match err 'orders: expected one vocabulary, .* got [0-9]+ input and [0-9]+ output tokens$'
finish
