# SPDX-License-Identifier: MIT
#
# otimes compose: its table to read, the same numbers by either route and in panels, and what is wrong.
. "$(dirname "$0")/lib.sh"

need_model
tab=$(printf '\t')
grouped=$root/tests/golden/llama
deep=$root/tests/golden/gemma3_text

# Values of a TSV that are defined, in an order of their own.
values_into() {
    expect_status 0
    grep -v -e '^#' -e "${tab}nan\$" "$work/out" | sort >"$work/$1"
    expect_file "$work/$1"
}

# Fails unless two such lists hold the same entries with values no further apart than $3, z no further
# than $4.
expect_same_values() {
    awk -F '\t' -v near="$3" -v near_z="$4" '
        {value = $NF; sub(/\t[^\t]*$/, ""); name = $1}
        NR == FNR {first[$0] = value; count++; next}
        !($0 in first) {print "only in one: " $0; exit}
        {gap = first[$0] - value; gap = gap < 0 ? -gap : gap; both++}
        gap > (name ~ /z$/ ? near_z : near) {print $0 ": " first[$0] ", " value; exit}
        END {if (both != count) print both + 0 " of " count " entries"}' \
        "$work/$1" "$work/$2" >"$work/differences"
    [ ! -s "$work/differences" ] || failed "$what: $(head -n 1 "$work/differences")"
}

# The table for people: each kind of composition, the strongest first.
run compose "$model" --top 3
expect_status 0
expect_empty err
expect_match out '^score   \|L R\| / \(\|L\| \|R\|\); random subspaces give 0\.[0-9]{4}, '
for circuit in Q K V; do
    expect_match out "^$circuit-composition +score +excess +z\$"
done
[ "$(grep -Ec '^L0H[0-9] -> L1H[0-9] +0\.[0-9]{4} +[+-]0\.[0-9]{4} +-?[0-9.]+$' "$work/out")" -eq 9 ] ||
    failed "$what: expected three pairs of each of three kinds"
awk '/-composition/ {last = 2} /^L/ {if ($4 > last) exit 1; last = $4}' "$work/out" ||
    failed "$what: scores do not fall"
# The heads of the bundled model's induction read those before them by their keys.
expect_match out '^L0H2 -> L1H[01] +0\.1[0-9]{3} +\+0\.0[0-9]{3} +[0-9]{2}\.[0-9]$'
run compose "$model" --top 0
expect_status 0
[ "$(grep -c -e '->' "$work/out")" -eq 0 ] || failed "$what: expected no pair"
run compose "$deep" --top 1
expect_match out 'W_O through the norm behind it, up to its scale$'

# Every entry a line; what does not stand before its reader is no number.
run compose "$model" --format tsv
expect_match out '^# baseline_dimension: [0-9]+$'
expect_match out "^score${tab}0${tab}2${tab}K${tab}1${tab}1${tab}0\\.16"
expect_match out "^score${tab}1${tab}2${tab}K${tab}0${tab}1${tab}nan\$"
expect_match out "^score${tab}1${tab}2${tab}K${tab}1${tab}1${tab}nan\$"
[ "$(grep -c "^score$tab" "$work/out")" -eq 192 ] || failed "$what: expected 192 entries of score"
values_into plain
run compose "$model" --format tsv --layers 0,1 --heads 1,3
expect_match out "^score${tab}0${tab}3${tab}V${tab}1${tab}1${tab}0\\."
values_into chosen
grep -E "^[a-z_]+${tab}[01]${tab}[13](${tab}[QKV]${tab}[01]${tab}[13])?$tab[^$tab]*\$" "$work/plain" >"$work/part"
expect_same_values part chosen 1e-6 1e-4

# Either route, and panels of layers, give the same: float32 sums of some dozens of terms.
all="--ends --set 0.0,0.1 --set 2.1 --offsets 0,3,-2 --components 2"
run compose "$deep" --format tsv $all
for name in 'score' 'z' 'excess' 'ov_norm' 'qk_norm' 'offset_score' 'offset_z' 'component_score_[qkv]' \
    'component_share_(ov|qk)' 'from_(score|z)' 'to_(score|z)' 'between_(score|z)'; do
    expect_match out "^$name$tab"
done
expect_match out "^from_score${tab}L0H0\\+H1${tab}Q${tab}1${tab}0${tab}0\\."
expect_match out "^to_score${tab}L2H1${tab}1${tab}0${tab}0\\."
expect_match out "^between_score${tab}L0 mlp${tab}L1 mlp gate${tab}0\\."
expect_match out "^offset_score${tab}-2${tab}0${tab}1${tab}K${tab}3${tab}1${tab}0\\."
values_into whole
for route in cores grams; do
    run compose "$deep" --format tsv $all --route $route
    values_into "$route"
    expect_same_values whole $route 2e-6 2e-5
done
run compose "$deep" --memory 1 $all
expect_error 1 'memory: expected at least [0-9]+ bytes, for two layers of .*gemma3_text and the ends of its stream, got 1$'
two=$(sed 's/.*at least \([0-9]*\) bytes.*/\1/' "$work/err")
run compose "$deep" --memory $((two - 1)) $all
expect_error 1 "memory: expected at least $two bytes"
run compose "$deep" --format tsv $all --memory "$two" # a layer a panel
values_into panels
expect_same_values whole panels 2e-6 2e-5

run compose "$grouped" --memory 1
less=$(sed 's/.*at least \([0-9]*\) bytes.*/\1/' "$work/err")
run compose "$grouped" --memory "$less" --ends # whose forms take room too
expect_error 1 'for two layers of .*llama and the ends of its stream, got'

# A set of one head is that head.
run compose "$grouped" --format tsv --set 0.1
expect_status 0
for circuit in Q K V; do
    set=$(awk -F '\t' -v c=$circuit '$1 == "from_score" && $3 == c && $4 == 1 && $5 == 2 {printf "%.5f", $6}' "$work/out")
    head=$(awk -F '\t' -v c=$circuit '$1 == "score" && $2 == 0 && $3 == 1 && $4 == c && $5 == 1 && $6 == 2 {printf "%.5f", $7}' "$work/out")
    [ -n "$set" ] && [ "$set" = "$head" ] || failed "$what: $circuit: expected $head, got $set"
done

# Ends alone need no second layer.
run compose "$grouped" --layers 1 --ends --top 1
expect_status 0
expect_match out '^embedding -> L1H'

# Resumed.
SOURCE_DATE_EPOCH=86400
export SOURCE_DATE_EPOCH
run compose "$deep" $all --memory "$two" -o "$work/x.h5"
expect_status 0
expect_absent "$work/x.h5.journal" "$work/x.h5.tmp"
mv "$work/x.h5" "$work/whole.h5"
for delay in 0.01 0.03 0.05; do
    timeout -s KILL "$delay" "$otimes" compose "$deep" $all --memory "$two" -o "$work/x.h5" \
        >"$work/out" 2>"$work/err" || :
    [ ! -e "$work/x.h5.journal" ] || flock -w 60 "$work/x.h5.journal" true
    run compose "$deep" $all --memory "$two" -o "$work/x.h5" --resume
    expect_status 0
    cmp -s "$work/x.h5" "$work/whole.h5" || failed "$what: stopped after $delay s, the result differs"
    expect_absent "$work/x.h5.journal" "$work/x.h5.tmp"
    rm -f "$work/x.h5"
done
run compose "$deep" --resume --format tsv
expect_error 2 '--resume: expected a result in HDF5'

# What is wrong, in one line.
for set in '' 0 0.x x.1 0.1, ,0.1 0.1.1; do
    run compose "$grouped" --set "$set"
    expect_error 2 '--set: expected '
done
run compose "$grouped" --set 0.0,1.1
expect_error 2 "--set: expected heads of one layer, got '0.0,1.1'"
run compose "$grouped" --set 0.1,0.0,0.1
expect_error 2 "--set: expected each head once, got '0.1,0.0,0.1'"
run compose "$grouped" --set 0.4
expect_error 2 "--set: expected an integer from 0 to 3, got '4'"
run compose "$grouped" --set 2.0
expect_error 2 "--set: expected an integer from 0 to 1, got '2'"
run compose "$grouped" --set 0.0,0.1 --set 0.1,0.2
expect_error 2 'set 1: heads 1 and 2 of layer 0: expected heads that share a key/value head, got 0 and 1'
run compose "$grouped" --set 0.0,0.1 --set 0.1,0.0
expect_error 2 'set 1: expected each set once, got L0H0\+H1 again'
run compose "$grouped" --layers 1
expect_error 1 'composition of heads: expected at least 2 layers, got 1'
run compose "$root/tests/golden/gpt2" --offsets 0,1
expect_error 1 'offsets: expected rotary positions, got learned'
for offsets in '' x 1, 1.5 1-x; do
    run compose "$grouped" --offsets "$offsets"
    expect_error 2 '--offsets: expected '
done
run compose "$grouped" --offsets 1,1
expect_error 2 '--offsets: expected each number once, got 1 again'
run compose "$grouped" --components 5
expect_error 2 'components: expected 0 to 4, got 5'
run compose "$grouped" --components -1
expect_error 2 '--components: expected '
for memory in x 0 -1 1Q ''; do
    run compose "$grouped" --memory "$memory"
    expect_error 2 '--memory: expected '
done
run compose "$grouped" --route slow
expect_error 2 '--route: expected '
run compose "$grouped" -o "$work/none/x.h5"
expect_error 1 'none/x.h5.*: cannot be written: No such file or directory'
run compose "$grouped" --text x
expect_error 2 '--text: not an option of this command'
run compose --help
expect_status 0
expect_match out '^      --\[no-\]resume '
expect_match out '^Interrupted runs:$'
finish
