# SPDX-License-Identifier: MIT
#
# Wrong usage: one line that names the word at fault, exit 2.
. "$(dirname "$0")/lib.sh"

need_model

run bigrm
expect_error 2 'bigrm: unknown command; did you mean bigram\?'
run xyzzy
expect_error 2 'xyzzy: unknown command; otimes --help'
run help xyzzy
expect_error 2 'xyzzy: unknown command'
run --verson
expect_error 2 '--verson'

for command in $(model_commands); do
    run "$command"
    expect_error 2 "^otimes $command: MODEL.*: expected .*got none"
    run "$command" "$model" second
    case $command in
    compare) expect_error 1 'second: ' ;; # it takes several
    *) expect_error 2 'second: ' ;;
    esac
done
for command in $(result_commands); do
    run "$command" "$model" --format hdf5
    expect_error 2 '--format: hdf5 expects a file'
    run "$command" "$model" --format null -o "$work/x.h5"
    expect_error 2 '--format: null'
done
for command in $(commands); do
    run "$command" "$model" --no-such-option
    expect_error 2 '--no-such-option: unknown option'
    run "$command" "$model" -z
    expect_error 2 '^otimes [a-z]+: -z: unknown option'
    run "$command" "$model" --quite
    expect_error 2 '--quite: unknown option; did you mean --quiet\?'
    run "$command" "$model" --form tsv # no abbreviations
    expect_error 2 '--form: unknown option'
    run "$command" "$model" --output
    expect_error 2 '--output: expected an argument, got none'
    run "$command" "$model" -o
    expect_error 2 '-o: expected an argument, got none'
    run "$command" "$model" -o --quiet
    expect_error 2 '-o: expected an argument, got none'
    run "$command" "$model" --quiet=1
    expect_error 2 "--quiet: expected no argument, got '1'"
    run "$command" "$model" --format csv
    expect_error 2 "--format: expected hdf5, tsv, null or safetensors, got 'csv'"
done

for command in $(weight_commands); do
    for junk in '' x 1x 0 -1 1.5 ' 1' 0x4 99999999999999999999; do
        run "$command" "$model" --format null --threads="$junk"
        expect_error 2 '--threads: expected '
    done
done

run bigram "$model" --layers 0
expect_error 2 '--layers: not an option of this command'
run info "$model" --top 3
expect_error 2 '--top: not an option of this command'
for option in --raw --threads=2 --no-fold-ln --layers=0; do
    run tokens "$model" --text x $option
    expect_error 2 '(not an option of this command|unknown option)'
done
for command in info heads; do
    run $command "$model" --text x
    expect_error 2 '--text: not an option of this command'
done
run bigram "$model" --top
expect_error 2 '--top: expected an argument, got none'
run bigram "$model" --top --exact
expect_error 2 '--top: expected an argument, got none'
run bigram "$model" --full=float8
expect_error 2 "--full: expected float32 or float16, got 'float8'"
run heads "$model" --matrices factors,all
expect_error 2 "--matrices: expected factors, products or positions, got 'all'"

for command in bigram heads; do
    for junk in -1 x 2.5 1,2; do
        run $command "$model" --top="$junk"
        expect_error 2 '--top: expected '
    done
    for junk in '' x 1- -1 1,,2 , 5-3 1-2-3 999999999 0-999999999 99999999999999999999; do
        run $command "$model" --tokens="$junk" -o "$work/x.h5"
        expect_error 2 '--tokens'
        expect_absent "$work/x.h5" "$work/x.h5.tmp"
    done
done
run bigram "$model" --rows 99999999
expect_error 2 '--rows'
run bigram "$model" --columns 99999999
expect_error 2 '--columns'
run heads "$model" --layers 99999
expect_error 2 '--layers'
run heads "$model" --heads 99999
expect_error 2 '--heads'
for junk in '' x 1, 1,1 3-0 0-3,2 0-99999999 1.5; do
    run heads "$model" --offsets="$junk"
    expect_error 2 '--offsets'
done
finish
