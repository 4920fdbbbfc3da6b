# SPDX-License-Identifier: MIT
#
# Help and version: on stdout, exit 0, for every command.
. "$(dirname "$0")/lib.sh"

run
expect_status 2
expect_empty out
expect_match err '^usage: otimes COMMAND'

for option in --help -h help; do
    run $option
    expect_status 0
    expect_empty err
    expect_match out '^usage: otimes COMMAND'
done

for option in --version -V; do
    run $option
    expect_status 0
    expect_empty err
    expect_match out '^otimes [0-9]+\.[0-9]+\.[0-9]+$'
    expect_match out '^blas '
    expect_match out '^hdf5 +[0-9]+\.[0-9]+\.[0-9]+$'
    expect_match out '^threads +[1-9]'
done

[ -n "$(commands)" ] || failed "otimes --help lists no commands"
for command in $(commands); do
    run "$command" --help
    expect_status 0
    expect_empty err
    expect_match out "^usage: otimes $command "
    expect_match out '^Example:$'
    expect_match out '^Exit status: '
    for option in --output --format --quiet --help '--\[no-\]progress'; do
        expect_match out "^ +(-[a-z], )?$option( |\$)"
    done
    if grep -n '.\{81\}' "$work/out"; then
        failed "$what: a line is longer than 80"
    fi
    cp "$work/out" "$work/first"
    if weight_commands | grep -q "^$command\$"; then
        for option in --raw --threads --config '--\[no-\]fold-ln' \
            '--\[no-\]center-writing-weights' '--\[no-\]center-unembed' \
            '--\[no-\]fold-value-biases'; do
            expect_match out "^ +$option( |\$)"
        done
    fi
    run help "$command"
    expect_status 0
    cmp -s "$work/out" "$work/first" || failed "otimes help $command differs from $command --help"
    # Help wins over what comes after it.
    run "$command" -h --no-such-option
    expect_status 0
    # Each option that help names must be known: on its own it must not be called unknown.
    for option in $(sed -n 's/^ *\(-[a-z], \)*--\(\[no-\]\)*\([a-z-]*\).*/--\3/p' "$work/first"); do
        run "$command" "$option"
        if grep -q 'unknown option' "$work/err"; then
            failed "otimes $command: help names $option, which is unknown"
        fi
    done
done
finish
