# SPDX-License-Identifier: MIT
#
# Spellings of options that must mean the same.
. "$(dirname "$0")/lib.sh"

need_model

# The result on stdout without what differs by its nature.
result() {
    run "$@"
    expect_status 0
    expect_empty err
    grep -v -e '^# command_line: ' -e '^# date: ' "$work/out"
}

result bigram "$model" --top 2 --rows 0-3 >"$work/a"
[ -s "$work/a" ] || failed "bigram prints nothing"
same() {
    result "$@" >"$work/b"
    cmp -s "$work/a" "$work/b" || failed "$what: result differs from that of the plain spelling"
}
same bigram --top=2 --rows=0-3 "$model"
same bigram --top 2 "$model" --rows 0,1,2,3
same bigram --rows 0-3 --top 2 -- "$model"
same bigram --top 7 --top 2 "$model" --rows 0-3 # the last one holds
same bigram "$model" --top 2 --rows 0-3 --format tsv
same bigram "$model" --top 2 --rows 0-3 -o -
same bigram "$model" --top 2 --rows 0-3 --no-fold-ln --fold-ln
same bigram "$model" --top 2 --rows 0-3 --raw --fold-ln --center-writing-weights \
    --center-unembed --fold-value-biases

# Not compared: the BLAS rounds differently on another number of threads.
run bigram "$model" --top 2 --rows 0-3 --threads 1
expect_status 0
expect_empty err

run bigram "$model" --top 2 --rows 0-3 -qo "$work/x.tsv"
expect_status 0
expect_empty out
expect_empty err
grep -v -e '^# command_line: ' -e '^# date: ' "$work/x.tsv" >"$work/b"
cmp -s "$work/a" "$work/b" || failed "$what: the file differs from standard output"

# Processing is recorded, and --raw turns it off.
run bigram "$model" --top 1 --rows 0 --raw
for step in fold_ln center_writing_weights center_unembed fold_value_biases; do
    expect_match out "^# $step: (off|not applicable|done in the file)\$"
done
run bigram "$model" --top 1 --rows 0 --no-center-unembed
expect_match out '^# center_unembed: (off|not applicable|done in the file)$'

# The command line is recorded as a shell would take it.
run bigram "$model" --top 1 --rows 0 --config "$model/config.json"
expect_match out "^# command_line: otimes bigram .* --config "
ln -s "$model" "$work/it's a model"
run bigram "$work/it's a model" --top 0 --rows 0
expect_status 0
expect_match out "^# command_line: otimes bigram '.*/it'.*'s a model' --top 0 --rows 0\$"

SOURCE_DATE_EPOCH=86400
export SOURCE_DATE_EPOCH
run bigram "$model" --top 0 --rows 0
expect_match out '^# date: 1970-01-02T00:00:00Z$'
SOURCE_DATE_EPOCH=today
run bigram "$model" --top 0 --rows 0
expect_error 2 'SOURCE_DATE_EPOCH'
finish
