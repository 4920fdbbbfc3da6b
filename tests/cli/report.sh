# SPDX-License-Identifier: MIT
#
# A model's page: options, what is wrong with them, files that cannot be written, a run that is stopped, and
# tokens that would be something else than text.
. "$(dirname "$0")/lib.sh"

need_model
gpt2=$root/tests/golden/gpt2 # takes 9 tokens
page=$work/page.html

# Both of its elements, once each, between what stands before and behind.
expect_page() {
    expect_status 0
    expect_empty out
    for pattern in '<script type="application/json" id="otimes-data">{"format":1,' \
        '<script type="application/octet-stream" id="otimes-block">'; do
        [ "$(grep -c -e "^$pattern" "$1")" -eq 1 ] || failed "$what: expected $pattern once in $1"
    done
    [ "$(head -c 15 "$1")" = '<!DOCTYPE html>' ] || failed "$what: expected HTML"
    [ "$(tail -n 1 "$1")" = '</html>' ] || failed "$what: expected the page's end"
    expect_absent "$1.tmp"
}

# The data's object, without numbers.
data() {
    sed -n '/id="otimes-data"/,/<\/script>/p' "$1"
}

run report "$gpt2" --tokens 1,2,3 -o "$page"
expect_page "$page"
expect_empty err
data "$page" | grep -q '"model":"gpt2"' || failed "$what: expected the model's name"
run report "$gpt2/" -o "$page"
expect_page "$page"
data "$page" | grep -q '"model":"gpt2"' || failed "$what: expected the model's name"

# Standard output has the page and nothing else.
status=0
SOURCE_DATE_EPOCH=0 "$otimes" report "$gpt2" -o - >"$work/stdout.html" 2>"$work/err" || status=$?
what="otimes report -o -"
expect_status 0
expect_empty err
SOURCE_DATE_EPOCH=0 "$otimes" report "$gpt2" -o "$page"
sed "s|-o $page|-o -|" "$page" | cmp -s - "$work/stdout.html" || failed "$what: another page than in a file"

# A text that is too long, and several of them: said, and the rest left out.
run report "$gpt2" --tokens 1,2,3,4,5,6,7,8,9,10,11 -o "$page"
expect_page "$page"
expect_match err '^otimes report: the text was cut to its first 9 of 11 tokens, which is all that the model takes$'
run report "$gpt2" --tokens 1,2,3,4,5 --max-tokens 2 -o "$page"
expect_page "$page"
expect_match err '^otimes report: the text was cut to its first 2 of 5 tokens \(--max-tokens\)$'
run report "$gpt2" --tokens 1,2,3,4,5 --max-tokens 2 -q -o "$page"
expect_page "$page"
expect_empty err
printf '{"tokens": [1, 2]}\n{"tokens": [3]}\n' >"$work/texts.jsonl"
run report "$gpt2" --text-file "$work/texts.jsonl" -o "$page"
expect_page "$page"
expect_match err '^otimes report: of 2 texts the first alone is looked at$'

# Every part can be left out.
run report "$gpt2" --tokens 1,2 -o "$page" \
    --without heads,circuits,compose,roles,bigram,logits,patterns,decompose,paths
expect_page "$page"
[ "$(data "$page" | grep -c '"attributes"')" -eq 1 ] || failed "$what: expected info alone"
run report "$gpt2" --progress --tokens 1,2 -o "$page"
expect_page "$page"

# What is wrong is said before anything is computed, and leaves nothing.
wrong() {
    pattern=$1
    shift
    run report "$gpt2" -o "$work/x.html" "$@"
    expect_error 2 "^otimes report: $pattern"
    expect_absent "$work/x.html" "$work/x.html.tmp"
}
wrong "--without: expected heads, circuits, .*, got 'all'" --without heads,all
wrong "--entries: expected an integer from 1 .*, got '0'" --entries 0
wrong '--paths: ' --paths 0
wrong '--vocab: ' --vocab 0
wrong '--max-tokens: ' --max-tokens 0
wrong '--top: ' --top -1
wrong '--format: a report is a page of HTML' --format tsv
wrong '--format: ' --format null
wrong '--target: expected a text beside it, got none' --target a
wrong "--target: 'nonsense': expected a token of the vocabulary" --tokens 1 --target nonsense
wrong '--tokens: ' --tokens 99
wrong '--tokens: ' --tokens 1,
wrong '--tokens: cannot stand beside --text' --text x --tokens 1
wrong '--resume: ' --resume
wrong '--layers: ' --layers 0
run report "$gpt2"
expect_error 2 '^otimes report: -o: expected a file to write'
run report "$gpt2" --text '' -o "$work/x.html"
[ "$status" -ne 0 ] || failed "$what: expected an error"
expect_absent "$work/x.html" "$work/x.html.tmp"
run report "$work/no-such-model" -o "$work/x.html"
expect_error 1 'no-such-model'
expect_absent "$work/x.html" "$work/x.html.tmp"

# Where it cannot be written.
mkdir "$work/folder"
run report "$gpt2" -o "$work/folder"
expect_error 1 'folder: expected a file to write, got a directory'
run report "$gpt2" -o "$work/no-such-folder/x"
expect_error 1 'no-such-folder/x.*: No such file or directory'
run report "$gpt2" -o ''
expect_error 1 'expected a file name'
if [ "$(id -u)" -ne 0 ]; then
    mkdir "$work/locked"
    chmod a-w "$work/locked"
    run report "$gpt2" -o "$work/locked/x"
    expect_error 1 'locked/x.*: Permission denied'
fi
if (ulimit -f 1) 2>/dev/null; then
    for blocks in 0 1 8; do
        echo before >"$page"
        what="otimes report with at most $blocks blocks"
        status=0
        (
            ulimit -f $blocks
            exec "$otimes" report "$gpt2" -o "$page"
        ) >"$work/out" 2>"$work/pipe" || status=$?
        [ "$status" -eq 1 ] || failed "$what: expected exit status 1, got $status"
        [ "$(cat "$page")" = before ] || failed "$what: the page before is lost"
        expect_absent "$page.tmp"
    done
fi
if [ -w /dev/full ]; then
    run report "$gpt2" -o /dev/full
    expect_error 1 '/dev/full: cannot be written: No space left on device'
    what="otimes report -o - > /dev/full"
    status=0
    "$otimes" report "$gpt2" -o - >/dev/full 2>"$work/err" || status=$?
    expect_status 1
    expect_match err 'standard output: cannot be written: No space left on device'
fi

# Stopped at any time: the page is complete or absent.
for signal in INT TERM; do
    for delay in 0.005 0.02 0.05 0.1 0.2; do
        what="otimes report, SIG$signal after $delay s"
        rm -f "$page"
        status=0
        timeout --preserve-status -s $signal $delay "$otimes" report "$model" --all -o "$page" \
            >"$work/out" 2>"$work/err" || status=$?
        case $status in
        0) expect_file "$page" ;;
        130 | 143) expect_absent "$page" ;;
        *) failed "$what: expected 0, 130 or 143, got $status" ;;
        esac
        [ ! -s "$work/err" ] ||
            expect_match err '^otimes report: stopped by signal [0-9]+, nothing was written$'
        expect_absent "$page.tmp"
    done
done

# Tokens that close an element, move a cursor, turn what follows around, or are no text at all.
command -v python3 >/dev/null || finish
hostile=$work/hostile
check=$root/tests/python/hostile.py
python3 "$check" "$hostile" || failed "hostile.py"
tokens=0,5,8,10,12,13,17,18,9
run report "$gpt2" --tokens 0,1,2,3,4,5,6,7,8 -o "$work/tame.html"
expect_page "$work/tame.html"
run report "$hostile" --tokens $tokens -o "$page"
expect_page "$page"
python3 "$check" --page "$page" "$work/tame.html" || failed "$what: the page is not as it should be"
stays_text() {
    run "$@"
    expect_status 0
    python3 "$check" --terminal "$work/out" "$work/err" || failed "$what: not text"
}
stays_text bigram "$hostile"
stays_text tokens "$hostile" --tokens 0-22
stays_text circuit "$hostile" --rows 5 --columns 8,9
stays_text circuit "$hostile"
stays_text heads "$hostile" --top 3
stays_text trigrams "$hostile"
stays_text virtual "$hostile"
stays_text neurons "$hostile"
stays_text qk "$hostile"
for command in roles logits patterns decompose paths orders ablate; do
    stays_text $command "$hostile" --tokens $tokens
done
stays_text patterns "$hostile" --tokens $tokens --top 3
stays_text decompose "$hostile" --tokens $tokens --target '#5' --target '#8' --against '#9'
stays_text logits "$hostile" --tokens 9,8 --generate 5
stays_text logits "$hostile" --text "$(printf 'a\033[2J\302\233\342\200\256\n')" --generate 3
cp -r "$gpt2" "$work/gelu"
sed -i 's/gelu_new/gelu_new\\u001b[2J\\u202e/' "$work/gelu/config.json"
stays_text info "$work/gelu" --tensors
expect_match out '^mlp +plain, gelu_new.x1B\[2J.u202E$'
odd=$work/$(printf 'odd\033[2J')
cp -r "$gpt2" "$odd"
for command in info compose neurons roles virtual qk; do
    stays_text $command "$odd"
done
stays_text patterns "$odd" --tokens 1,2
stays_text compare "$odd" "$odd"
stays_text compare "$odd" "$odd" "$odd"
cp -r "$hostile" "$work/other"
sed -i 's/u202eevil/u202eevi1/' "$work/other/tokenizer.json"
"$otimes" bigram "$hostile" -q -o "$work/a.h5" || failed "bigram"
"$otimes" bigram "$work/other" -q -o "$work/b.h5" || failed "bigram"
run diff "$work/a.h5" "$work/b.h5"
expect_match out "^labels +token: 1 only in B, the first '.u202Eevi1.u2066'$"
python3 "$check" --terminal "$work/out" "$work/err" || failed "$what: not text"
run decompose "$hostile" --tokens 1 --target "$(printf 'a\033[2J\302\233\342\200\256\na')"
expect_error 2 '--target: '
python3 "$check" --terminal "$work/err" || failed "$what: not text"
run "$(printf 'bigr\033[2J\342\200\256m')"
expect_error 2 'unknown command'
python3 "$check" --terminal "$work/err" || failed "$what: not text"
finish
