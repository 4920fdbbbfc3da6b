# SPDX-License-Identifier: MIT
#
# otimes circuit: its entries to read, the three circuits, what is written of them, and what is wrong.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')
rotary=$root/tests/golden/llama

# For people: formula, orientation, and the largest and smallest entries side by side, falling.
run circuit "$model" --head 1.0
expect_status 0
expect_empty err
expect_match out '^W_E W_V W_O W_U$'
expect_match out '^row = source token, column = output token$'
expect_match out '^1\.0$'
[ "$(grep -Ec '^ +-?[0-9.]+  .+ -> .+  +-?[0-9.]+  .+ -> .+$' "$work/out")" -eq 10 ] ||
    failed "$what: expected 10 entries"
awk '/ -> / {if (n++ && $1 > last) bad = 1; last = $1} END {exit bad}' "$work/out" ||
    failed "$what: the largest do not fall"
run circuit "$model" --which kcomp:0.2
expect_status 0
expect_match out '^row = destination token, column = token that the earlier head moved$'
expect_match out '^ +-?[0-9.]+  .+ <- .+  .+ <- .+$'
[ "$(grep -Ec '^1\.[0-9]$' "$work/out")" -eq 4 ] || failed "$what: expected the heads of layer 1"

# Rows and columns that were chosen have lists of their own.
run circuit "$model" --head 0.1,1.2 --which qk --rows 3,4,5 --columns 7-9 --top 2 --largest 1 --threshold 1e-6
expect_status 0
expect_match out '^  largest of rows$'
expect_match out '^  smallest of columns$'
expect_match out '^  [0-9]+ entr(y|ies) beyond the threshold 1e-06$'
[ "$(grep -Ec '^    .*: .+ -?[0-9.e-]+, .+ -?[0-9.e-]+$' "$work/out")" -ge 12 ] || failed "$what: expected lists"

# Written: the same entries from the list of a row, the largest and the table.
run circuit "$model" --head 1.1 --rows 5,6 --top 1 --bottom 0 --largest 1 --full --format tsv
expect_status 0
expect_match out "^head_layer${tab}1\.1${tab}1$"
expect_match out "^row_id${tab}.*${tab}6$"
largest=$(awk -F "$tab" '$1 == "largest_value" {print $4}' "$work/out")
[ "$(awk -F "$tab" '$1 == "top_value" {print $5}' "$work/out" | sort -g | tail -n 1)" = "$largest" ] ||
    failed "$what: the largest is not the largest of the rows"
awk -F "$tab" -v most="$largest" '$1 == "table" {n++; if ($5 > top || n == 1) top = $5}
    END {gap = top - most; exit n < 100 || gap > 1e-5 || gap < -1e-5}' "$work/out" ||
    failed "$what: the largest of the table is another"
grep -q '^bottom_value' "$work/out" && failed "$what: --bottom 0 wrote some"

# Each way finds the same, at any number of threads.
run circuit "$model" --top 5 --side both --format tsv --threads 1 --way blocks
expect_status 0
grep -v '^#' "$work/out" >"$work/blocks"
run circuit "$model" --top 5 --side both --format tsv --threads 2 --way screen
expect_status 0
grep -v '^#' "$work/out" | cmp -s - "$work/blocks" || failed "$what: differs from --way blocks"
run circuit "$model" --top 5 --side both --format tsv
expect_status 0
grep -v '^#' "$work/out" | cmp -s - "$work/blocks" || failed "$what: differs from --way blocks"

# A table at another offset is another; where nothing turns there is none.
run circuit "$rotary" --head 0.0 --which qk --offset 0 --top 1 --format tsv
expect_status 0
grep "^top_value" "$work/out" >"$work/at-0"
run circuit "$rotary" --head 0.0 --which qk --offset 4 --top 1 --format tsv
expect_status 0
expect_match out '^# offset: 4$'
grep "^top_value" "$work/out" | cmp -s - "$work/at-0" && failed "$what: nothing was turned"

# Counts of a histogram and the entries outside are all of the table.
run circuit "$model" --head 0.0 --histogram=-0.5:0.5:4 --top 0 --bottom 0 --format tsv
expect_status 0
awk -F "$tab" '$1 ~ /^histogram(_below|_above)?$/ {all += $NF}
    /^# (row|column)_count: / {split($0, part, ": "); cells = cells ? cells * part[2] : part[2]}
    END {exit all != cells || !all}' "$work/out" || failed "$what: entries are missing"

# What is wrong, in one line.
wrong() { # status, expected text, options
    wanted=$1
    text=$2
    shift 2
    run circuit "$model" "$@"
    expect_error "$wanted" "^otimes circuit: .*$text"
}
wrong 2 "--which: expected ov, qk or kcomp:LAYER.HEAD, got 'vo'" --which vo
wrong 2 "--which: expected heads as LAYER.HEAD,LAYER.HEAD, got 'x'" --which kcomp:x
wrong 2 "--which: expected one head behind kcomp:, got 'kcomp:0.0,0.1'" --which kcomp:0.0,0.1
wrong 2 'earlier head: expected a layer before the last, got 1.0' --which kcomp:1.0
wrong 2 'heads: expected layers after 0, that of the earlier head, got 0.1' --which kcomp:0.0 --head 0.1
wrong 2 "--head: expected heads as LAYER.HEAD,LAYER.HEAD, got '1'" --head 1
wrong 2 '--head: ' --head 0.99
wrong 2 '--head: expected each head once, got 0.1 again' --head 0.1,0.1
wrong 2 'offset: expected a circuit of QK' --offset 1
wrong 1 'offset: expected rotary positions, got learned' --which qk --offset 1
wrong 2 '--threshold: expected a number other than 0' --threshold 0
wrong 2 "--threshold: expected a number from .*, got 'x'" --threshold x
wrong 2 "--histogram: expected LOW:HIGH:BINS, got '1:2'" --histogram 1:2 --format null
wrong 2 "--histogram: expected LOW below HIGH, got '2:1:3'" --histogram 2:1:3 --format null
wrong 2 '--histogram: expected .*0' --histogram 0:1:0 --format null
wrong 2 '--full: expected -o or --format' --full
wrong 2 '--statistics: expected -o or --format' --statistics
wrong 2 '--side: expected ' --side up
wrong 2 '--rows: ' --rows 99999999
wrong 2 'table: expected extremes alone from the screen' --way screen --statistics --format null
run circuit "$model" -o "$work/none/x.h5"
expect_error 1 'none/x.h5.*: cannot be written: No such file or directory'

finish
