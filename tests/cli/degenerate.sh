# SPDX-License-Identifier: MIT
#
# The program on degenerate checkpoints, as write_degenerate makes them: a table to read, a file, a page, or
# one line of error. OTIMES_DEGENERATE=all takes every one of them, which is minutes.
. "$(dirname "$0")/lib.sh"

mkdir "$work/models"
"$(dirname "$otimes")/tests/write_degenerate" "$work/models" || failed "write_degenerate"
few='ln-zero_all ln-nan_weight ln-huge ln-constant_stream ln-one_dimension rotary-one_position
    rotary-other_output bare-huge bare-denormal bare-zero_head bare-no_layers bare-one_token'
[ "${OTIMES_DEGENERATE-few}" = all ] && few=$(ls "$work/models")

# What a model must be said to lack, or what its weights must be said to be.
excuse='expected (at least [12] layers?|layers|a model with MLPs|one vocabulary|heads, layers|finite numbers|'\
'numbers that float32 holds|logits that float32 holds|a layer before the last|at most|'\
'a model that reads forwards|none, as there are none)'

# A result to read, in which what is undefined is a dash and 0 has no sign; or an error that is due.
expect_readable() {
    if [ "$status" -ne 0 ]; then
        [ "$status" -le 2 ] || failed "$what: expected exit status 0 to 2, got $status"
        expect_error "$status" "$excuse"
        return
    fi
    expect_empty err
    if grep -Eiq '(^|[^a-z])-?nan([^a-z_]|$)|(^|[ (=])[-+]?-0(\.0*)?%?([ ,)]|$)' "$work/out"; then
        failed "$what: $(grep -Ein '(^|[^a-z])-?nan|[ (=]-0(\.0*)?%?([ ,)]|$)' "$work/out" | head -n 3)"
    fi
    case $1 in
    *huge | *largest*) ;;
    *) grep -Eiq '(^|[^a-z])-?inf([^a-z]|$)' "$work/out" && failed "$what: a number is infinite" ;;
    esac
}

# Entries a line each, as they are computed: what is undefined is nan.
expect_entries() {
    mv "$work/out" "$work/entries"
    : >"$work/out"
    [ "$status" -eq 0 ] || expect_error 1 "$excuse"
    if grep -q '[[:space:]]-nan' "$work/entries"; then
        failed "$what: what is no number has a sign"
    fi
}

# Numbers alone in the page's data.
expect_json() {
    sed -n '/id="otimes-data"/,/<\/script>/p' "$1" | sed 's/<script[^>]*>//; s/<\/script>.*//' |
        python3 -c 'import json, sys
json.load(sys.stdin, parse_constant=sys.exit)' || failed "$what: expected numbers in the page's data"
}

for name in $few; do
    model=$work/models/$name
    text=1,4,2,6,5,10,10
    case $name in
    *one_token) text=0,0,0,0 ;;
    *one_position) text=1 ;;
    esac
    for command in info circuit 'circuit --which qk' compose 'compose --components 1' neurons qk \
        roles trigrams virtual; do
        # shellcheck disable=SC2086 # a command and its options
        run $command "$model"
        expect_readable "$name"
    done
    run compare "$model" "$model"
    expect_readable "$name"
    for command in logits ablate orders patterns decompose 'decompose --predicted' paths 'paths --mlp frozen' \
        'logits --generate 3'; do
        # shellcheck disable=SC2086
        run $command "$model" --tokens "$text"
        expect_readable "$name"
    done
    run activations "$model" --tokens "$text" --names '*'
    expect_readable "$name"
    for command in heads bigram; do
        run $command "$model"
        expect_entries
    done
    run logits "$model" --tokens "$text" -q -o "$work/x.h5"
    [ "$status" -eq 0 ] && expect_file "$work/x.h5"
    rm -f "$work/x.h5"
    run report "$model" --tokens "$text" -q -o "$work/page.html"
    if [ "$status" -eq 0 ]; then
        expect_json "$work/page.html"
    else
        expect_error 1 "$excuse"
        expect_absent "$work/page.html"
    fi
    rm -f "$work/page.html"
done

# Each error says where and what.
run compare "$work/models/ln-nan_weight" "$work/models/ln-nan_weight"
expect_error 1 'ln-nan_weight: blocks\.1\.attn\.W_O: expected finite numbers, got nan at canonical element 5$'
run virtual "$work/models/ln-huge"
expect_error 1 'ln-huge: layer 0: W_[QV]: expected numbers that float32 holds after processing, got (nan|-?inf) '
run compose "$work/models/bare-no_layers" --ends
expect_error 1 'bare-no_layers: composition of heads: expected at least 1 layer, got 0$'
run heads "$work/models/bare-no_layers" --layers 0 --format null
expect_error 2 '--layers: expected none, as there are none, got 0$'
run logits "$work/models/bare-huge" --tokens 1,2 --generate 2
expect_error 1 'bare-huge: text 0: token 0 of its continuation: expected logits that float32 holds'
finish
