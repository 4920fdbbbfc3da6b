# SPDX-License-Identifier: MIT
#
# otimes ablate: what is asked for, what is printed, and what cannot be.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')
text='def f(self, x): return self.x'

# The text for people: the clean loss, heads by what they change, a table of all.
run ablate "$model" --text "$text"
expect_status 0
expect_empty err
expect_match out '^method      zero$'
expect_match out '^loss +[0-9]+\.[0-9]{4} nats with nothing ablated$'
expect_match out '^  L[0-9]H[0-9] +[0-9]+\.[0-9]{4} +[+-][0-9]+\.[0-9]{4}$'
expect_match out '^Change of the loss, layer by head$'
expect_match out '^  L1 +[+-][0-9]'
[ "$(awk '/^  L[0-9]H[0-9]/ {print $3 + 0}' "$work/out" | sort -rg | md5sum)" = \
    "$(awk '/^  L[0-9]H[0-9]/ {print $3 + 0}' "$work/out" | md5sum)" ] ||
    failed "$what: expected the largest change first"
run ablate "$model" --text "$text" --target '#5' --against '#6' --no-loss
expect_status 0
expect_match out "^logit +-?[0-9]+\.[0-9]{4} of '#5' less '#6'\$"
expect_match out '^Change of the logit, layer by head$'

# The same as arrays, for what was asked for alone.
run ablate "$model" --text "$text" --layers 1 --heads 0,2 --format tsv
expect_status 0
expect_match out '^# schema: otimes-ablate$'
[ "$(awk -F '\t' '$1 == "loss_change" {printf "%s ", $3}' "$work/out")" = 'L1H0 L1H2 ' ] ||
    failed "$what: expected two heads"
[ "$(awk -F '\t' '$1 == "head_loss_change" {printf "%s.%s ", $3, $4}' "$work/out")" = '1.0 1.2 ' ] ||
    failed "$what: expected the same heads by place"
run ablate "$model" --text "$text" --set 0.0-1,1.attn --set 1.3 --components layers --format tsv
expect_status 0
[ "$(awk -F '\t' '$1 == "loss_change" {printf "%s|", $3}' "$work/out")" = \
    'L0 attention|L1 attention|0.0+0.1+1.attn|L1H3|' ] || failed "$what: expected families, then sets"
if grep -q '^head_' "$work/out"; then
    failed "$what: expected no array by head"
fi

# Means and other texts.
printf '%s\nself.y = 1 + self.z\n' "$text" >"$work/lines"
for method in 'mean' 'mean --mean position' "mean --mean-from $work/lines" 'resample' \
    'resample --seed 7'; do
    # shellcheck disable=SC2086 # words on purpose
    run ablate "$model" --text-file "$work/lines" --method $method --format tsv
    expect_status 0
    expect_match out "^# method: ${method%% *}( by position)?\$"
    expect_match out "^loss_change${tab}1${tab}L1H3${tab}-?[0-9]"
done

# Several waves say the same as one.
run ablate "$model" --text-file "$work/lines" --stream --format tsv
awk -F '\t' '$1 == "loss_change" {printf "%s %s %.4f\n", $2, $3, $4 + 1}' "$work/out" >"$work/whole"
run ablate "$model" --text-file "$work/lines" --stream --memory 1 --format tsv
expect_error 2 'memory: expected at least [0-9]+ bytes for a text of [0-9]+ tokens'
least=$(sed 's/.*at least \([0-9]*\) bytes.*/\1/' "$work/err")
run ablate "$model" --text-file "$work/lines" --stream --memory "$least" --format tsv
expect_status 0
awk -F '\t' '$1 == "loss_change" {printf "%s %s %.4f\n", $2, $3, $4 + 1}' "$work/out" >"$work/waves"
[ -s "$work/waves" ] && cmp -s "$work/whole" "$work/waves" || failed "$what: differs from the run with more memory"

# What it takes, before it runs.
run ablate "$model" --text-file "$work/lines" --plan
expect_status 0
expect_match out '^memory of a pass '
expect_match out '^ablations +8 +in 1 wave$'
run ablate "$model" --text-file "$work/lines" --plan --stream --memory "$least"
expect_match out '^ablations +8 +in 8 waves$'
expect_match out '^memory with them +[0-9.]+ MiB  the pass included, weights a layer at a time$'

# What is wrong is said in a line.
run ablate "$model"
expect_error 2 '--text: expected a text'
for junk in '' x 0 0. .1 0.1, 0.x 0.-1 0.3-1 0.n 0.mlps -1.0 0.0.0 99999999999999999999.0; do
    run ablate "$model" --text x --set="$junk"
    expect_error 2 "--set: expected LAYER.HEAD, .*, got '"
    run ablate "$model" --text x --neurons="$junk"
    expect_error 2 "--neurons: expected LAYER.NEURON or LAYER.FIRST-LAST, got '"
done
run ablate "$model" --text x --neurons 0.mlp
expect_error 2 '--neurons: expected LAYER.NEURON'
run ablate "$model" --text "$text" --set 0.99
expect_error 2 'head: expected 0 to [0-9]+ in layer 0, got 99$'
run ablate "$model" --text "$text" --set 99.0
expect_error 2 'head: expected layers 0 to [0-9]+, got 99$'
run ablate "$model" --text "$text" --set 0.1,0.1
expect_error 2 'set: expected each member once, got head 1 of layer 0 again$'
run ablate "$root/tests/golden/gpt2" --tokens 1,2,3 --neurons 0.999999
expect_error 2 'neuron: expected 0 to [0-9]+ in layer 0, got 999999$'
run ablate "$root/tests/golden/transformer_lens" --tokens 1,2,3 --components mlps
expect_error 1 'MLP: .*expected a model with MLPs, got one without$'
run ablate "$root/tests/golden/mixtral" --tokens 1,2,3 --neurons 0.0
expect_error 1 'neuron: layer 0: expected an MLP of its own, got one of experts'
run ablate "$model" --text "$text" --components neurons
expect_error 2 '--components: neurons expect --layers or --neurons'
run ablate "$model" --text "$text" --set 0.1 --layers 1
expect_error 2 '--layers: expected --components beside it'
run ablate "$model" --text "$text" --components layers --heads 1
expect_error 2 '--heads: expected heads among --components'
run ablate "$model" --text "$text" --components head
expect_error 2 "--components: expected heads, layers, mlps or neurons, got 'head'"
run ablate "$model" --text "$text" --method median
expect_error 2 "--method: expected zero, mean or resample, got 'median'"
run ablate "$model" --text "$text" --mean position
expect_error 2 '--mean: expected --method mean beside it'
run ablate "$model" --text "$text" --mean-from "$work/lines"
expect_error 2 '--mean-from: expected --method mean beside it'
run ablate "$model" --text "$text" --seed 3
expect_error 2 '--seed: expected --method resample beside it'
run ablate "$model" --text "$text" --method resample
expect_error 2 'resample: expected at least 2 texts, got 1$'
printf 'self\n' >"$work/short"
run ablate "$model" --text "$text" --method mean --mean position --mean-from "$work/short"
expect_error 2 'position [0-9]+: expected a text that reaches it'
: >"$work/empty"
run ablate "$model" --text "$text" --method mean --mean-from "$work/empty"
expect_error 2 'empty: expected a text a line, got none'
run ablate "$model" --text "$text" --target 'no such token'
expect_error 2 "--target: 'no such token': expected one token"
run ablate "$model" --text "$text" --target '#99999999'
expect_error 2 '--target: .#99999999.: expected '
run ablate "$model" --text "$text" --against '#1'
expect_error 2 '--against: expected --target beside it'
run ablate "$model" --text "$text" --no-loss
expect_error 2 '--no-loss: expected --target beside it'
run ablate "$model" --text "$text" --positions 500
expect_error 2 'positions: text 0: expected -[0-9]+ to [0-9]+, got 500$'
for junk in '' x 1, 1,1 0x4; do
    run ablate "$model" --text "$text" --positions="$junk"
    expect_error 2 '--positions'
done
finish
