# SPDX-License-Identifier: MIT
#
# A stopped run: exit 128 + signal, and nothing under the final name.
. "$(dirname "$0")/lib.sh"

need_model
command -v timeout >/dev/null || exit 77

# Whenever the signal comes, the result is complete or absent and no .tmp stays.
for signal in INT TERM; do
    for delay in 0.01 0.03 0.06 0.1 0.2; do
        for name in x.h5 x.tsv; do
            what="otimes bigram --full -o $name, SIG$signal after $delay s"
            status=0
            timeout --preserve-status -s $signal $delay "$otimes" bigram "$model" --full \
                -o "$work/$name" >"$work/out" 2>"$work/err" || status=$?
            case $status in
            0) expect_file "$work/$name" ;;
            130 | 143) expect_absent "$work/$name" ;;
            *) failed "$what: expected 0, 130 or 143, got $status" ;;
            esac
            [ ! -s "$work/err" ] ||
                expect_match err '^otimes bigram: stopped by signal [0-9]+(, nothing was written|; --resume goes on)$'
            expect_empty out
            expect_absent "$work/$name.tmp"
            rm -f "$work/$name" "$work/$name.journal"
        done
    done
done

# A second signal ends at once a program that cannot heed the first, here one that waits for its text, and
# leaves no .tmp either.
mkfifo "$work/texts"
for name in x.h5 x.tsv; do
    what="otimes logits --text-file fifo -o $name, SIGTERM twice"
    "$otimes" logits "$model" --text-file "$work/texts" -o "$work/$name" 2>"$work/err" &
    program=$!
    while [ ! -e "$work/$name.tmp" ] && kill -0 $program; do
        :
    done
    kill -TERM $program
    sleep 2.1
    kill -TERM $program
    status=0
    wait $program || status=$?
    expect_status 143
    expect_absent "$work/$name" "$work/$name.tmp"
    rm -f "$work/$name.journal"
done

# A reader that waits holds the program in the middle of its output, however fast it is, if there is
# more of it than a pipe takes.
run bigram "$model" --full --format tsv
if [ "$(wc -c <"$work/out")" -lt 200000 ]; then
    finish
fi
mkfifo "$work/fifo"
what="otimes bigram --full -o fifo, SIGTERM while the reader waits"
"$otimes" bigram "$model" --full --format tsv -o "$work/fifo" 2>"$work/err" &
program=$!
(
    sleep 0.3
    kill -TERM $program
    sleep 0.1
    cat >/dev/null
) <"$work/fifo"
status=0
wait $program || status=$?
expect_status 143
expect_match err 'stopped by signal 15, nothing was written'
[ -p "$work/fifo" ] || failed "$what: the pipe is gone"
finish
