# SPDX-License-Identifier: MIT
#
# Runs killed at random moments, stopped, or out of disk: --resume goes on with each, and the file is
# that of a run that nothing happened to, byte for byte. OTIMES_SEED: other moments.
. "$(dirname "$0")/lib.sh"

need_model
command -v timeout >/dev/null || exit 77
kills=20
seed=${OTIMES_SEED:-7}
echo "seed $seed"
SOURCE_DATE_EPOCH=86400
export SOURCE_DATE_EPOCH
cd "$work" || exit 1

# Goes on with what was interrupted; $1 says how that came.
resume() {
    what="$1, resumed: otimes $line"
    status=0
    # shellcheck disable=SC2086 # words on purpose
    "$otimes" $line -o x.h5 --resume --progress >out 2>err || status=$?
    expect_status 0
    cmp -s x.h5 whole.h5 || failed "$what: the result differs"
    expect_absent x.h5.journal x.h5.tmp x.h5.part
    rm -f x.h5
}

killed_at_random() {
    rounds=0 journals=0
    while [ $rounds -lt $kills ]; do
        draw
        delay=$(awk "BEGIN {print $length * $share / 1000}")
        # shellcheck disable=SC2086
        timeout -s KILL "$delay" "$otimes" $line -o x.h5 >out 2>err || :
        # SIGKILL takes timeout along, which then does not wait for the end of a large process.
        if [ -e x.h5.journal ]; then
            flock -w 60 x.h5.journal true
            journals=$((journals + 1))
        fi
        resume "killed after $delay s of $length"
        rounds=$((rounds + 1))
    done
    echo "$line: $length s, $journals of $kills kills left a journal"
}

stopped() {
    for share in 400 800; do
        delay=$(awk "BEGIN {print $length * $share / 1000}")
        what="otimes $line, SIGINT after $delay s"
        status=0
        # shellcheck disable=SC2086
        timeout --preserve-status -s INT "$delay" "$otimes" $line -o x.h5 >out 2>err || status=$?
        expect_empty out
        if [ "$status" -eq 130 ]; then
            if [ -e x.h5.journal ]; then
                expect_match err "^otimes [a-z]+: stopped by signal 2; --resume goes on"
            else
                [ ! -s err ] || expect_match err "^otimes [a-z]+: stopped by signal 2, nothing was written\$"
            fi
            expect_absent x.h5 x.h5.tmp
        else
            expect_status 0
        fi
        resume "stopped after $delay s of $length"
    done
}

# Fails unless the error in $1 is that of a full disk.
expect_full() {
    expect_status 1
    case $1 in
    "otimes ${line%% *}: x.h5"*": $2"*) ;;
    *) failed "$what: expected '$2', got: $1" ;;
    esac
    if [ -e x.h5.journal ]; then
        case $1 in
        *"; --resume goes on"*) ;;
        *) failed "$what: expected to hear of --resume, got: $1" ;;
        esac
    fi
    expect_absent x.h5 x.h5.tmp
}

# As the limit on the size of a file, in blocks of 512 bytes.
no_room_for_a_file() {
    for share in 20 500 950; do
        blocks=$(($(wc -c <whole.h5) / 512 * share / 1000))
        what="otimes $line, files of at most $blocks blocks"
        status=0
        message=$(
            (
                ulimit -f $blocks
                # shellcheck disable=SC2086
                exec "$otimes" $line -o x.h5
            ) 2>&1
        ) || status=$?
        expect_full "$message" "File too large"
        # A large table is there once, and stays to be gone on with.
        case $line in
        *--full) [ ! -e x.h5.journal ] || expect_file x.h5.part ;;
        esac
        resume "files of at most $blocks blocks"
    done
}

# On a file system of its own, which grows before it goes on.
no_room_on_a_disk() {
    mkdir -p disk
    size=$(wc -c <whole.h5)
    for share in 300 700 950; do
        mount -t tmpfs -o size=$((size * share / 1000)) none disk || exit 1
        cd disk || exit 1
        ln -s ../model.bin ../whole.h5 .
        what="otimes $line on a disk of $share/1000 of the result"
        status=0
        # shellcheck disable=SC2086
        message=$("$otimes" $line -o x.h5 2>&1) || status=$?
        expect_full "$message" "disk space: expected up to "
        expect_absent x.h5.journal x.h5.part
        status=0
        # shellcheck disable=SC2086
        message=$("$otimes" $line -o x.h5 --no-space-check 2>&1) || status=$?
        expect_full "$message" "" # in whichever file
        case $message in
        *": No space left on device"*) ;;
        *) failed "$what: expected no space left, got: $message" ;;
        esac
        # Of what is there only once little more is needed than the result takes.
        case $line in
        *--full) room=$((size * 130 / 100 + 300000)) ;;
        *) room=$((3 * size + 1000000)) ;;
        esac
        mount -o remount,size=$room none . || exit 1
        resume "$share/1000 of the room"
        cd .. || exit 1
        umount disk || exit 1
    done
}

# Of more tokens than the rows that are computed together.
make_model model.bin 32 8 20 4 8200
while read -r line; do
    command=${line%% *}
    "$otimes" "$command" --help >help
    if ! grep -q -e '--\[no-\]resume' help; then
        echo "skipped: otimes $line, which has no --resume"
        continue
    fi
    what="otimes $line"
    length=1000
    for again in 1 2 3; do # the shortest: the others waited for the disk
        begin=$(now)
        status=0
        # shellcheck disable=SC2086
        "$otimes" $line -o x.h5 >out 2>err || status=$?
        length=$(awk "BEGIN {t = ($(now) - $begin) / 1e9; print t < $length ? t : $length}")
        expect_status 0
    done
    mv x.h5 whole.h5
    if [ -n "${OTIMES_MAY_MOUNT:-}" ]; then
        no_room_on_a_disk
        continue
    fi
    killed_at_random
    stopped
    ! (ulimit -f 1) 2>/dev/null || no_room_for_a_file
done <<END
compose model.bin --threads 1 --memory 5M --components 3 --ends
bigram model.bin --threads 1 --columns 0-255 --top 1 --full
bigram model.bin --threads 1 --columns 0-99 --full=float16 --top 3
bigram model.bin --threads 1 --columns 0-699 --no-statistics
circuit model.bin --threads 1 --columns 0-255 --head 3.1 --which ov --top 1 --full
END
if [ -z "${OTIMES_MAY_MOUNT:-}" ]; then
    if unshare -rm mount -t tmpfs none /mnt 2>/dev/null; then
        OTIMES_MAY_MOUNT=1 unshare -rm sh "$root/tests/cli/kill.sh" "$otimes" "$root" ||
            failed "on a disk that is full"
    else
        echo "skipped: what needs a disk of its own, which may not be mounted here"
    fi
fi
finish
