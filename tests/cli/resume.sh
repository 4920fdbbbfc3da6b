# SPDX-License-Identifier: MIT
#
# An interrupted run over texts: --resume goes on with it, and its result is that of a run that was
# not interrupted, byte for byte. compose.sh does the same for what is not over texts.
. "$(dirname "$0")/lib.sh"

need_model
command -v timeout >/dev/null || exit 77
resumable=
for command in $(commands); do
    "$otimes" "$command" --help >"$work/help"
    if grep -q -e '--\[no-\]resume' "$work/help" && grep -q -e '--batch' "$work/help"; then
        resumable="$resumable $command"
    fi
done
if [ -z "$resumable" ]; then
    echo "skipped: no command runs over texts"
    exit 77
fi
SOURCE_DATE_EPOCH=86400
export SOURCE_DATE_EPOCH
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    echo " self. self$i = self.x($i)"
done >"$work/lines"

# A killed process leaves no word; what it wrote is in x.h5.journal.
interrupt() {
    status=0
    timeout --preserve-status -s "$1" "$2" "$otimes" "$command" "$model" $extra --text-file "$work/lines" \
        -o "$work/x.h5" >"$work/out" 2>"$work/err" || status=$?
    what="otimes $command -o x.h5, SIG$1 after $2 s"
    # SIGKILL takes timeout along, which then does not wait for the end of a large process.
    [ ! -e "$work/x.h5.journal" ] || flock -w 60 "$work/x.h5.journal" true
}

for command in $resumable; do
    case $command in
    activations) extra="--batch=30 --names=*.hook_resid_*,*.hook_pattern" ;;
    *) extra=--batch=30 ;;
    esac
    run "$command" "$model" $extra --text-file "$work/lines" -o "$work/x.h5"
    expect_status 0
    expect_absent "$work/x.h5.journal" "$work/x.h5.tmp"
    cp "$work/x.h5" "$work/whole.h5"
    for delay in 0.01 0.02 0.04 0.06 0.1 0.2 0.4; do
        for signal in KILL INT; do
            rm -f "$work/x.h5"
            interrupt $signal $delay
            if [ $signal = INT ] && [ "$status" -eq 130 ] && [ -s "$work/err" ]; then
                if [ -e "$work/x.h5.journal" ]; then
                    expect_match err "^otimes $command: stopped by signal 2; --resume goes on from text [0-9]+\$"
                else
                    expect_match err "^otimes $command: stopped by signal 2, nothing was written\$"
                fi
                expect_absent "$work/x.h5" "$work/x.h5.tmp"
            fi
            run "$command" "$model" $extra --text-file "$work/lines" -o "$work/x.h5" --resume
            expect_status 0
            cmp -s "$work/x.h5" "$work/whole.h5" || failed "$what: resumed, the result differs"
            expect_absent "$work/x.h5.journal" "$work/x.h5.tmp"
        done
    done

    # Another command is refused, and nothing is lost by it.
    rm -f "$work/x.h5"
    for delay in 0.3 0.2 0.1 0.05 0.02; do
        interrupt KILL $delay
        [ ! -s "$work/x.h5.journal" ] || break
        rm -f "$work/x.h5" "$work/x.h5.journal"
    done
    if [ -s "$work/x.h5.journal" ]; then
        cp "$work/x.h5.journal" "$work/journal"
        run "$command" "$model" $extra --text-file "$work/lines" -o "$work/x.h5" --resume --raw
        expect_error 2 "x.h5.journal: expected 'command otimes $command .*' as in the interrupted run"
        cp -p "$work/lines" "$work/same"
        echo more >>"$work/lines"
        run "$command" "$model" $extra --text-file "$work/lines" -o "$work/x.h5" --resume
        expect_error 2 "expected 'texts .*lines: [0-9]+ bytes .*got 'texts .*; without --resume"
        cp -p "$work/same" "$work/lines"
        cmp -s "$work/x.h5.journal" "$work/journal" || failed "$what: the journal is lost"
        expect_absent "$work/x.h5"
        run "$command" "$model" $extra --text-file "$work/lines" -o "$work/x.h5" -q --resume --progress
        expect_status 0
        expect_absent "$work/x.h5.journal" "$work/x.h5.tmp"
    fi

    for form in '' '--format tsv' '--format null' "-o $work/x.tsv"; do
        # shellcheck disable=SC2086 # words on purpose
        run "$command" "$model" $extra --text x --resume $form
        expect_error 2 '--resume: expected a result in HDF5 \(-o FILE.h5\), got (tsv|null)'
    done

    # None is kept where none is wanted.
    interrupt INT 0.05
    rm -f "$work/x.h5" "$work/x.h5.journal"
    run "$command" "$model" $extra --text-file "$work/lines" -o "$work/x.h5" --no-resume
    expect_status 0
    expect_absent "$work/x.h5.journal"
done

# The option belongs to these commands alone.
run info "$model" --resume
expect_error 2 '--resume: not an option of this command'
finish
