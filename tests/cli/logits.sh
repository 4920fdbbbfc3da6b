# SPDX-License-Identifier: MIT
#
# otimes logits and otimes activations: what people see, and what is refused in one line.
. "$(dirname "$0")/lib.sh"

model=$root/notebooks-data/induction-2l
[ -f "$model/model.safetensors" ] || {
    echo "skipped: the bundled model is not in the tree"
    exit 77
}
tab=$(printf '\t')

# The table: each token with what is expected behind it; the last has no next one.
run logits "$model" --text 'self.x = self.y' --top 3
expect_status 0
expect_empty err
[ "$(head -n 1 "$work/out")" = 'position  token       next    rank  expected next' ] ||
    failed "$what: expected the titles first, got: $(head -n 1 "$work/out")"
expect_match out '^ +0  "self"? +[0-9.]+% +[0-9]+  ".*%  ".*%  ".*%$'
expect_match out '^mean loss [0-9]+\.[0-9]{4} nats a token, perplexity [0-9.]+, 6 predicted$'
run logits "$model" --text 'self.x = self.y' --top 0
expect_match out '^ +0  "self" +[0-9.]+% +[0-9]+$'

# Several texts, from a file, from standard input and as JSON lines, are what each is alone.
printf 'import os\nself.x = 1\n' >"$work/lines"
printf '"import os"\n{"text": "self.x = 1"}\n' >"$work/lines.jsonl"
run logits "$model" --text-file "$work/lines" --format tsv
expect_status 0
grep -v '^# \(command_line\|date\)' "$work/out" >"$work/two"
expect_match two "^length${tab}1${tab}[0-9]+\$"
for file in "$work/lines.jsonl" -; do
    what="otimes logits --text-file $file"
    "$otimes" logits "$model" --text-file "$file" --format tsv <"$work/lines" |
        grep -v '^# \(command_line\|date\)' >"$work/other"
    cmp -s "$work/two" "$work/other" || failed "$what: expected what the file of lines gives"
done
run logits "$model" --text-file "$work/lines"
expect_match out '^text 1$'
expect_match out '^text 1  loss [0-9.]+, [0-9]+ predicted$'

# Chosen positions, and the table of all logits.
run logits "$model" --text 'self.x = self.y' --positions 0,1,2,-3,-2 --format tsv
grep -v '^#' "$work/out" > "$work/listed"
[ "$(grep -c "^place_position$tab" "$work/listed")" -eq 5 ] || failed "$what: expected five positions"
run logits "$model" --text 'self.x = self.y' --positions 0-2,-3--2 --format tsv
grep -v '^#' "$work/out" | cmp -s - "$work/listed" || failed "$what: differs from 0,1,2,-3,-2"
run logits "$model" --text 'self.x = self.y' --positions last --format tsv
expect_status 0
expect_match out "^place_position${tab}0${tab}-1${tab}6\$"
run logits "$model" --text 'self.x' --positions last --full --format tsv
[ "$(grep -c "^logits$tab" "$work/out")" -eq "$(sed -n 's/^# d_vocab_out: //p' "$work/out")" ] ||
    failed "$what: expected one row of logits"

# Generation: the same text at any number of threads; another seed draws another one.
run logits "$model" --text 'def __init__(self, name):' --generate 12
expect_status 0
expect_match out '^def __init__\(self, name\):$'
cp "$work/out" "$work/greedy"
run logits "$model" --text 'def __init__(self, name):' --generate 12 --threads 1
cmp -s "$work/out" "$work/greedy" || failed "$what: another text with one thread"
for seed in 1 2; do
    run logits "$model" --text 'def' --generate 30 --temperature 1 --top-p 0.95 --seed $seed
    expect_status 0
    cp "$work/out" "$work/seed$seed"
done
run logits "$model" --text 'def' --generate 30 --temperature 1 --top-p 0.95 --seed 1 --threads 1
cmp -s "$work/out" "$work/seed1" || failed "$what: another text from the same seed"
cmp -s "$work/seed1" "$work/seed2" && failed "$what: one text from two seeds"
run logits "$model" --tokens 5,6 --generate 3 --format tsv
[ "$(grep -c "^generated_id$tab" "$work/out")" -eq 3 ] || failed "$what: expected three tokens"

# Activations: a list, a summary, arrays.
run activations "$model" --list
expect_status 0
expect_match out '^blocks\.\{l\}\.attn\.hook_q +\[text, position, head 4, d_head 32\]$'
cp "$work/out" "$work/list"
run activations "$model" --names list
cmp -s "$work/out" "$work/list" || failed "$what: expected what --list prints"
run activations "$model" --text 'self.x' --names '*'
expect_match out '^blocks\.1\.attn\.hook_pattern +[0-9]+ '
run activations "$model" --text 'self.x' --names 'ln_final.hook_scale' --format tsv
[ "$(grep -c "^ln_final.hook_scale$tab" "$work/out")" -eq 3 ] || failed "$what: expected 3 scales"

# What is wrong with the texts.
vocab=$(sed -n 's/^# d_vocab: //p' "$work/out")
n_ctx=$(sed -n 's/^# n_ctx: //p' "$work/out")
ids=$(awk -v n="$((n_ctx + 1))" 'BEGIN {printf "1"; for (i = 1; i < n; i++) printf ",1"}')
printf 'self\n\n' >"$work/empty"
printf 'self\n\377\n' >"$work/bytes"
for command in logits 'activations --names=*'; do
    run $command "$model"
    expect_error 2 '--text: expected a text'
    run $command "$model" --text ''
    expect_error 2 'expected at least one token, got none'
    run $command "$model" --text-file "$work/empty"
    expect_error 2 'empty.*2: expected at least one token'
    run $command "$model" --text-file "$work/bytes"
    expect_status 1
    expect_match err 'bytes.*2: '
    run $command "$model" --tokens "0,$vocab"
    expect_error 2 "--tokens: expected .* got '?$vocab"
    run $command "$model" --tokens "$ids"
    expect_error 2 "expected at most $n_ctx tokens"
    run $command "$model" --tokens "$ids" --truncate --format null
    expect_status 0
    run $command "$model" --text x --memory 1000
    expect_error 2 'memory: expected at most 1000 bytes, '
    for junk in '' x 1X 1KB -1 0 99999999999G; do
        run $command "$model" --text x --memory="$junk"
        expect_error 2 '--memory: expected '
    done
    run $command "$model" --text x --memory 2G --batch 7 --stream --format null
    expect_status 0
done

# What is wrong with the rest.
for junk in 7 -8 x 0,0 ''; do
    run logits "$model" --text 'self.x = self.y' --positions="$junk"
    expect_error 2 'positions: '
done
run logits "$model" --text x --generate "$n_ctx"
expect_status 0
run logits "$model" --text x --generate "$((n_ctx + 1))"
expect_error 2 "generate: text 0: expected at most $n_ctx tokens"
for options in '--temperature 1' '--ignore-eos' '--generate 3 --seed 1' '--generate 3 --top-k 2' \
    '--generate 3 --top-p 0.5' '--generate 3 --full' '--generate 3 --positions 0' \
    '--generate 3 --top 2' '--generate 0' '--generate 3 --temperature x' \
    '--generate 3 --temperature -1' '--generate 3 --temperature nan' \
    '--generate 3 --temperature 1 --top-p 0' '--generate 3 --temperature 1 --top-p 1.5' \
    '--generate 3 --temperature 1 --top-k 0' '--generate 3 --temperature 1 --seed -1'; do
    run logits "$model" --text x $options
    expect_error 2 '(expected|cannot stand beside) '
done
run activations "$model" --text x
expect_error 2 "names: expected some of the points of this model.* blocks\.\{l\}\.attn\.hook_z "
run activations "$model" --text x --names 'hook_embed,blocks.9.*'
expect_error 2 "got 'blocks\.9\.\*'"
run activations "$model" --text x --list --format tsv
expect_error 2 '--list: cannot stand beside'
finish
