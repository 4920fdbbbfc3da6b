# SPDX-License-Identifier: MIT
#
# Text on the command line: otimes tokens, and the texts that other commands take.
. "$(dirname "$0")/lib.sh"

kinds=$root/tests/data/tokens
tab=$(printf '\t')

# The table for people: aligned, tokens in quotes.
run tokens "$kinds/gpt2" --text "it's 12${tab}x"
expect_status 0
expect_empty err
[ "$(head -n 1 "$work/out")" = 'position   id  begin  end  token' ] ||
    failed "$what: expected the titles first, got: $(head -n 1 "$work/out")"
expect_match out '^       0 +[0-9]+ +0 +[0-9]+  "i'
expect_match out '^ +[0-9]+ +[0-9]+ +7 +8  "\\t"$'
[ "$(awk '{print length($0) - length($NF)}' "$work/out" | sort -u | wc -l)" -le 2 ] ||
    failed "$what: expected columns below each other"

# The same as arrays.
run tokens "$kinds/gpt2" --text "it's 12${tab}x" --format tsv
expect_status 0
expect_match out '^# schema: otimes-tokens$'
expect_match out '^# tokenizer_kind: byte-level BPE$'
expect_match out '^# tokenizer_sha256: [0-9a-f]{64}$'
expect_match out '^# bos: as trained$'
expect_match out '^# bos_added: 0$'
expect_match out "^text${tab}0${tab}it's 12\\\\tx\$"
expect_match out "^decoded${tab}0${tab}it's 12\\\\tx\$"

# Ids back to text, through the same ids as the table gave.
ids=$(awk -F '\t' '$1 == "id" {printf "%s%s", comma, $3; comma = ","}' "$work/out")
run tokens "$kinds/gpt2" --tokens "$ids"
expect_status 0
expect_match out "^decoded  \"it's 12\\\\tx\"\$"
run tokens "$kinds/gpt2" --tokens 5,3,3,7-9,5 --format tsv
expect_status 0
[ "$(awk -F '\t' '$1 == "id" {printf "%s ", $3}' "$work/out")" = '5 3 3 7 8 9 5 ' ] ||
    failed "$what: expected the ids as they were written"
if grep -Eq "^((begin|end|text)${tab}|# bos(_added)?: )" "$work/out"; then
    failed "$what: expected neither ranges nor texts"
fi

# BOS as trained, always, never.
run tokens "$kinds/llama3" --text hi --format tsv
expect_match out '^# bos_added: 1$'
cp "$work/out" "$work/trained"
expect_match out "^token${tab}0${tab}<\\|begin_of_text\\|>\$"
run tokens "$kinds/llama3" --text hi --bos --format tsv
expect_match out '^# bos: always$'
for file in trained out; do
    grep -v '^#' "$work/$file" >"$work/$file.data"
done
cmp -s "$work/trained.data" "$work/out.data" || failed "$what: expected what --text alone gives"
run tokens "$kinds/llama3" --text hi --no-bos --format tsv
expect_match out '^# bos: never$'
expect_match out '^# bos_added: 0$'
expect_match out "^token${tab}0${tab}h"
run tokens "$kinds/starcoder2" --text hi --bos
expect_error 1 'BOS'

# A text a line, from a file and from standard input; NUL and broken bytes are kept.
printf 'the key\n\nof\0\377 caf\303\251\r\nlast' >"$work/lines"
run tokens "$kinds/gpt2" --text-file "$work/lines" --format tsv
expect_status 0
[ "$(grep -c '^token_count' "$work/out")" -eq 4 ] || failed "$what: expected four texts"
expect_match out "^token_count${tab}1${tab}0\$"
expect_match out "^text${tab}2${tab}of<0x00>.* caf.*\\\\r\$"
expect_match out "^text${tab}3${tab}last\$"
grep -v '^# \(command_line\|date\)' "$work/out" >"$work/file"
what="otimes tokens --text-file -"
"$otimes" tokens "$kinds/gpt2" --text-file - --format tsv <"$work/lines" |
    grep -v '^# \(command_line\|date\)' >"$work/stdin"
cmp -s "$work/file" "$work/stdin" || failed "$what: standard input differs from the file"
run tokens "$kinds/gpt2" --text-file "$work/lines"
expect_match out '^text 3$'

# The same texts as JSON lines; what can be no text has its line named.
printf '"the key"\n{"text": ""}\n{"n": 1, "text": "caf\\u00e9"}\n' >"$work/lines.jsonl"
printf 'the key\n\ncaf\303\251\n' >"$work/plain"
for file in lines.jsonl plain; do
    run tokens "$kinds/gpt2" --text-file "$work/$file" --format tsv
    expect_status 0
    grep -v '^# \(command_line\|date\)' "$work/out" >"$work/$file.data"
done
cmp -s "$work/lines.jsonl.data" "$work/plain.data" || failed "$what: JSON lines differ from lines"
printf '"a"\n{"text": 3}\n' >"$work/bad.jsonl"
run tokens "$kinds/gpt2" --text-file "$work/bad.jsonl"
expect_error 1 'bad.jsonl:2: text: expected a string or an array of ids, got a number'
printf '"a"\n{"tokens": [3]}\n' >"$work/ids.jsonl"
run tokens "$kinds/gpt2" --text-file "$work/ids.jsonl"
expect_error 2 'ids.jsonl:2: expected a text, got token ids'

# Every form a tokenizer comes in.
for form in gpt2/tokenizer.json gpt2_files gpt2_files/vocab.json sp_bpe sp_bpe/tokenizer.model; do
    run tokens "$kinds/$form" --text "the key"
    expect_status 0
    expect_match out '"the"|"the key"|"▁the"|" the"|"he"'
done

# HDF5.
run tokens "$kinds/gpt2" --text-file "$work/lines" -o "$work/x.h5"
expect_status 0
expect_empty out
[ "$(head -c 4 "$work/x.h5" | tail -c 3)" = HDF ] || failed "$what: expected HDF5"
run tokens "$kinds/gpt2" --text '' -o "$work/x.h5"
expect_status 0

# What is wrong is said in a line.
run tokens "$kinds/gpt2"
expect_error 2 '--text: expected a text'
run tokens "$kinds/gpt2" --text a --text-file "$work/lines"
expect_error 2 '--text: cannot stand beside --text-file'
run tokens "$kinds/gpt2" --text a --tokens 1
expect_error 2 '--tokens: cannot stand beside --text$'
run tokens "$kinds/gpt2" --tokens 1 --no-bos
expect_error 2 '--tokens: cannot stand beside --no-bos'
for junk in '' x 1- -1 1,,2 , 5-3 1-2-3 513 0-513 99999999999999999999; do
    run tokens "$kinds/gpt2" --tokens="$junk"
    expect_error 2 '--tokens'
done
run tokens "$kinds/gpt2" --text-file "$work/no-such-file"
expect_error 1 'no-such-file: cannot be opened: No such file'
: >"$work/empty"
run tokens "$kinds/gpt2" --text-file "$work/empty"
expect_error 2 'empty: expected a text a line'
run tokens "$kinds/gpt2" --text-file "$work"
expect_error 1 'cannot be read: Is a directory'

# A vocabulary restricted to the tokens of a text.
need_model
run bigram "$model" --text " self. self" --top 2
expect_status 0
cp "$work/out" "$work/by_text"
run tokens "$model" --text " self. self" --format tsv
ids=$(awk -F '\t' '$1 == "id" {print $3}' "$work/out" | sort -nu | paste -sd ,)
run bigram "$model" --tokens "$ids" --top 2
for file in by_text out; do
    grep -v '^# \(command_line\|date\)' "$work/$file" >"$work/$file.data"
done
[ -s "$work/out.data" ] && cmp -s "$work/by_text.data" "$work/out.data" ||
    failed "$what: expected what --text gives"
run bigram "$model/model.safetensors" --config "$model/config.json" --text " self. self" --top 2
expect_status 0
grep -v '^# \(command_line\|date\|model_path\)' "$work/out" >"$work/out.data"
grep -v '^# model_path' "$work/by_text.data" >"$work/by_folder.data"
cmp -s "$work/by_folder.data" "$work/out.data" || failed "$what: expected what the folder gives"
printf '{"tokens": [%s]}\n' "$ids" >"$work/ids.jsonl"
run bigram "$model" --text-file "$work/ids.jsonl" --top 2
grep -v '^# \(command_line\|date\)' "$work/out" >"$work/out.data"
cmp -s "$work/by_text.data" "$work/out.data" || failed "$what: expected what --text gives"
printf ' self. self\n\377\n' >"$work/bytes"
run bigram "$model" --text-file "$work/bytes"
expect_error 1 'bytes:2: expected UTF-8, got 0xff at byte 0'
run bigram "$model" --text a --tokens 1
expect_error 2 '--tokens: cannot stand beside --text$'
run bigram "$model" --text ''
expect_error 2 '--text: expected at least one token'
printf ' self. self' >"$work/line"
what="otimes bigram --text-file -"
"$otimes" bigram "$model" --text-file - --top 2 <"$work/line" |
    grep -v '^# \(command_line\|date\)' >"$work/stdin"
cmp -s "$work/by_text.data" "$work/stdin" || failed "$what: expected what --text gives"
finish
