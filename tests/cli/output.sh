# SPDX-License-Identifier: MIT
#
# Output that cannot be written: one line, exit 1, nothing under the final name.
. "$(dirname "$0")/lib.sh"

need_model

for command in $(result_commands); do
    for format in hdf5 tsv; do
        [ "$command $format" != "convert tsv" ] || continue # refused before that
        mkdir -p "$work/folder"
        run "$command" "$model" --format $format -o "$work/folder"
        expect_error 1 'folder: expected a file to write, got a directory'
        run "$command" "$model" --format $format -o "$work/no-such-folder/x"
        expect_error 1 'no-such-folder/x.*: No such file or directory'
        run "$command" "$model" --format $format -o ''
        expect_error 1 'expected a file name'
        if [ "$(id -u)" -ne 0 ]; then
            mkdir -p "$work/locked"
            chmod a-w "$work/locked"
            run "$command" "$model" --format $format -o "$work/locked/x"
            expect_error 1 'locked/x.*: Permission denied'
            echo kept >"$work/readonly"
            chmod a-w "$work/readonly"
            run "$command" "$model" --format $format -o "$work/readonly"
            expect_error 1 'readonly: .*: Permission denied'
            rm -f "$work/readonly"
        fi
    done
done

# A full disk, as the limit on the size of a file: at the first byte and later on.
if (ulimit -f 1) 2>/dev/null; then
    for command in bigram heads; do
        for blocks in 0 1 2 4; do
            for name in x.h5 x.tsv; do
                echo before >"$work/$name"
                what="otimes $command -o $name with at most $blocks blocks"
                status=0
                (
                    ulimit -f $blocks
                    exec "$otimes" $command "$model" -q -o "$work/$name"
                ) >"$work/out" 2>"$work/pipe" || status=$?
                # The message goes to a file here, and so under the same limit: looked at below.
                [ "$status" -eq 1 ] || failed "$what: expected exit status 1, got $status"
                [ "$(cat "$work/$name")" = before ] || failed "$what: the file before is lost"
                expect_absent "$work/$name.tmp"
                rm -f "$work/$name"
            done
        done
    done
    status=0
    message=$(
        (
            ulimit -f 4
            exec "$otimes" bigram "$model" -o "$work/x.h5"
        ) 2>&1
    ) || status=$?
    case $message in
    "otimes bigram: "*"x.h5"*": "*"File too large"*) ;;
    *) failed "full disk: expected the system's reason, got: $message" ;;
    esac
fi

if [ -w /dev/full ]; then
    for line in "bigram $model" "heads $model" "info $model" "info $model --format tsv" \
        "tokens $root/tests/data/tokens/gpt2 --text x" \
        "--version" "--help" "heads --help"; do
        what="otimes $line > /dev/full"
        status=0
        # shellcheck disable=SC2086 # words on purpose; a path with blanks has no place here
        "$otimes" $line >/dev/full 2>"$work/err" || status=$?
        expect_status 1
        expect_match err 'standard output: cannot be written: No space left on device'
    done
    run bigram "$model" --format tsv -o /dev/full
    expect_error 1 '/dev/full: .*No space left on device'
    run bigram "$model" --format hdf5 -o /dev/full
    expect_error 1 '/dev/full: expected a regular file'
    [ -c /dev/full ] || failed "/dev/full is gone"
fi

# An earlier result is replaced, and only by a complete one.
echo before >"$work/y.h5"
run info "$model" -o "$work/y.h5"
expect_status 0
expect_empty out
expect_absent "$work/y.h5.tmp"
[ "$(head -c 4 "$work/y.h5" | tail -c 3)" = HDF ] || failed "info -o y.h5: expected HDF5"

# Closed standard descriptors do not end up inside the result.
what="otimes info with standard output and error closed"
status=0
"$otimes" info "$model" -o "$work/z.h5" >&- 2>&- || status=$?
[ "$status" -eq 0 ] || failed "$what: expected exit status 0, got $status"
[ "$(head -c 4 "$work/z.h5" | tail -c 3)" = HDF ] || failed "$what: expected HDF5"
finish
