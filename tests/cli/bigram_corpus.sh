# SPDX-License-Identifier: MIT
#
# otimes bigram --corpus: texts, JSON lines and ids come to the same counts, and what is wrong.
. "$(dirname "$0")/lib.sh"

model=$root/notebooks-data/induction-2l
tab=$(printf '\t')

# What is said of the corpus in a table of text, without what names the run.
of_corpus() {
    grep -E "^(# )?corpus_[a-z_]*(: [-0-9nN]|$tab)" "$work/out"
}

cat >"$work/x.txt" <<'X'
def f(self):

    return self.x
def g(self, other):
    return self.x + other.x
X
run tokens "$model" --text-file "$work/x.txt" --no-bos --format tsv
expect_status 0
awk -F '\t' '
    $1 == "input_index" {text[$2] = $3}
    $1 == "id" {id[$2] = $3; if ($2 >= places) places = $2 + 1}
    END {
        for (i = 0; i < places; i++)
            printf "%s%s", (i && text[i] == text[i - 1] ? ", " : (i ? "]}\n" : "") "{\"tokens\": ["), id[i]
        print "]}"
    }' "$work/out" >"$work/ids.jsonl"
sed 's/.*/{"body": "&"}/' "$work/x.txt" >"$work/x.json"

run bigram "$model" --corpus "$work/x.txt" --top 1 --format tsv
expect_status 0
expect_empty err
of_corpus >"$work/of_text"
[ "$(grep -c '^# ' "$work/of_text")" -eq 11 ] || failed "$what: expected eleven totals"
[ "$(grep -c "^corpus_kl$tab" "$work/of_text")" -eq 1024 ] || failed "$what: expected a row for each token"

# The same texts in other forms.
run bigram "$model" --corpus "$work/ids.jsonl" --top 1 --format tsv
expect_status 0
of_corpus | cmp -s - "$work/of_text" || failed "$what: expected what the text gives"
run bigram "$model" --corpus "$work/x.json" --json-field body --top 1 --format tsv
expect_status 0
of_corpus | cmp -s - "$work/of_text" || failed "$what: expected what the text gives"
what="otimes bigram --corpus -"
"$otimes" bigram "$model" --corpus - --top 1 --format tsv <"$work/x.txt" >"$work/out"
of_corpus | cmp -s - "$work/of_text" || failed "$what: expected what the text gives"

# Totals are those of the rows; the counts those of the ids.
awk -F '\t' '
    FNR == NR {gsub(/[^0-9,]/, ""); n = split($0, id, ","); tokens += n; pairs += n - 1; next}
    /^# corpus_tokens: / {split($0, of, ": "); if (of[2] != tokens) exit 1}
    /^# corpus_pairs: / {split($0, of, ": "); if (of[2] != pairs) exit 1}
    /^# corpus_total_kl: / {split($0, of, ": "); total = of[2]}
    $1 == "corpus_count" {count[$2] = $3}
    $1 == "corpus_kl" && count[$2] {sum += count[$2] * $3}
    END {if (!pairs || (sum / pairs - total) ^ 2 > 1e-18) exit 1}' "$work/ids.jsonl" "$work/of_text" ||
    failed "$what: totals are not those of the rows"

# Chosen rows are rows of all.
run bigram "$model" --corpus "$work/x.txt" --rows 288,300-400 --top 1 --format tsv
expect_status 0
of_corpus | grep -v '^#' >"$work/rows"
[ "$(grep -c "^corpus_kl$tab" "$work/rows")" -eq 102 ] || failed "$what: expected 102 rows"
grep -Fxvf "$work/of_text" "$work/rows" && failed "$what: expected rows of the whole"

# What is wrong, in one line.
run bigram "$model" --corpus "$work/nothing.txt" --format null
expect_error 1 'nothing.txt: cannot be opened: '
run bigram "$model" --corpus "$work" --format null
expect_error 1 ': cannot be read: '
printf '\n\na\n' >"$work/short.txt"
run bigram "$model" --corpus "$work/short.txt" --format null
expect_error 1 '^otimes bigram: --corpus: .*short.txt: expected two tokens in a row, got none$'
printf 'ab cd\n\nab \377\n' >"$work/bytes.txt"
run bigram "$model" --corpus "$work/bytes.txt" --format null
expect_error 1 '^otimes bigram: --corpus: .*bytes.txt:3: expected UTF-8, got 0xff at byte 3$'
printf '{"tokens": [1, 2]}\n{"tokens": [1, 1024]}\n' >"$work/large.jsonl"
run bigram "$model" --corpus "$work/large.jsonl" --format null
expect_error 1 'large.jsonl:2: expected ids below 1024, the model.s vocabulary, got 1024$'
printf '{"tokens": [1, 2]}\n[1]\n' >"$work/array.jsonl"
run bigram "$model" --corpus "$work/array.jsonl" --format null
expect_error 1 'array.jsonl:2: expected a string or an object, got an array$'
run bigram "$model" --corpus "$work/x.txt" --columns 1,2 --format null
expect_error 2 '--corpus: expected every output token, got --columns$'
run bigram "$model" --corpus "$work/x.txt" --text self --format null
expect_error 2 '--corpus: expected every output token, got a text or --tokens$'
run bigram "$model" --json-field body --format null
expect_error 2 '--json-field: expected a --text-file or a --corpus, got neither$'
echo '{"tokens": [1, 2]}' >"$work/small.jsonl"
run bigram "$root/tests/golden/transformer_lens_none" --corpus "$work/small.jsonl" --format null
expect_error 1 'transformer_lens_none.*: corpus: expected one vocabulary, got '
finish
