# SPDX-License-Identifier: MIT
#
# Every command that writes, in every form, where it cannot: one line, the exit status of a failure, what
# was there before untouched, no .tmp. output.sh has folders and devices, kill.sh large tables on small
# disks, signals.sh what comes from outside.
. "$(dirname "$0")/lib.sh"

need_model
SOURCE_DATE_EPOCH=86400
export SOURCE_DATE_EPOCH
cd "$work" || exit 1
ln -s "$model" m
ln -s "$(folder_of neurons)" mlps
"$otimes" info m -o a.h5

# Command, and what stands behind it, in `words`; its files in `files`, its status of failure in `no`.
forms() {
    words="m $(words_of "$1")" files='x.h5 x.tsv' no=1
    case $1 in
    neurons) words=mlps ;;
    ablate) words="m --tokens 5,9,17" ;;
    circuit) words="m --head 1.0 --top 3" ;;
    convert) files='x.safetensors x.h5' ;;
    qk) words="m --heads 0" ;;
    report) words="m --vocab 20 --without circuits,compose,heads,roles" files=x.html ;;
    diff) words="a.h5 a.h5" no=2 ;;
    esac
}

# What $1 says of a run that was to fail, in `message`.
expect_refused() {
    expect_status $no
    [ "$(printf '%s\n' "$message" | wc -l)" -eq 1 ] || failed "$what: expected one line, got: $message"
    printf '%s\n' "$message" | grep -Eq "^otimes $command: .*$1" ||
        failed "$what: expected '$1', got: $message"
}

# Runs into $1, of which $2 is the failure.
refused() {
    what="otimes $command $words -o $1"
    status=0
    # shellcheck disable=SC2086 # words on purpose
    message=$("$otimes" $command $words -q -o "$1" 2>&1 >/dev/null) || status=$?
    expect_refused "$2"
}

# As the limit on the size of a file, in blocks of 512 bytes.
no_room_for_a_file() {
    for blocks in $blocks_of; do
        echo before >"$file"
        what="otimes $command $words -o $file, files of at most $blocks blocks"
        status=0
        message=$(
            (
                ulimit -f $blocks
                # shellcheck disable=SC2086
                exec "$otimes" $command $words -q -o "$file"
            ) 2>&1 >/dev/null
        ) || status=$?
        # A text in lines may fit.
        case $file,$blocks,$status in
        *.tsv,1,0) ;;
        *)
            expect_refused "(x|standard).*: .*File too large"
            [ "$(cat "$file")" = before ] || failed "$what: the file before is lost"
            ;;
        esac
        expect_absent "$file.tmp"
        rm -f "$file" "$file.journal" "$file.part"
    done
}

# Whether $1 is the result that `whole` is.
expect_whole() {
    expect_status 0
    cmp -s "$1" whole || failed "$what: the result differs"
    expect_absent "$file.tmp"
}

names() {
    what="otimes $command $words -o $file"
    status=0
    # shellcheck disable=SC2086
    "$otimes" $command $words -q -o $file >out 2>err || status=$?
    expect_status 0
    mv $file whole

    long=$(printf '%0253d' 0)
    refused "$long" "File name too long" # with .tmp
    expect_absent "$long"
    refused "${long}456" "File name too long"
    refused "a.h5/$file" "Not a directory"
    mkdir $file.tmp
    refused $file "$file.tmp: cannot be created: Is a directory"
    rmdir $file.tmp
    mkfifo $file.tmp
    refused $file "$file.tmp: (cannot be created|expected a file)"
    [ -p $file.tmp ] || failed "$what: the pipe is gone"
    rm $file.tmp
    expect_absent $file

    [ "$much" ] || return 0
    # A link is a name like any other: the result takes it, what it led to stays as it was.
    for target in nowhere there; do
        echo before >there
        ln -s $target $file
        what="otimes $command $words -o $file, a link to $target"
        status=0
        # shellcheck disable=SC2086
        "$otimes" $command $words -q -o $file >out 2>err || status=$?
        expect_whole $file
        [ "$(cat there)" = before ] || failed "$what: what it leads to was written"
        expect_absent nowhere
        rm $file
    done

    # What another program has open stays what it reads.
    echo before >$file
    exec 3<$file
    what="otimes $command $words -o $file, which is open"
    status=0
    # shellcheck disable=SC2086
    "$otimes" $command $words -q -o $file >out 2>err || status=$?
    expect_whole $file
    [ "$(cat <&3)" = before ] || failed "$what: the reader's file is lost"
    exec 3<&-
    rm $file
}

# Two runs at once: the second is refused, the first ends as if alone.
in_use() {
    : >$file.tmp
    exec 3<$file.tmp
    if flock -n 3; then
        refused $file "$file.tmp: another run is writing this output"
        [ -e $file.tmp ] || failed "$what: the other run's .tmp is gone"
        expect_absent $file
    fi
    exec 3<&-
    rm -f $file.tmp $file.journal
}

# A file of the model, by its own name and by another.
input() {
    case $command in
    tokens) ;;
    *)
        mkdir n
        cp "$(folder_of "$command")"/*.* n/
        ln n/model.safetensors n/other
        cp n/model.safetensors kept
        for target in n/model.safetensors n/other; do
            what="otimes $command n -o $target"
            status=0
            # shellcheck disable=SC2046,SC2086
            message=$("$otimes" $command n $(words_of $command) $format -q -o $target 2>&1) || status=$?
            expect_refused "$target: expected another file than the model's own"
            cmp -s n/model.safetensors kept || failed "$what: the weights are lost"
            expect_absent $target.tmp
        done
        rm -r n
        ;;
    esac
}

# A disk of its own, which may not be written, or has no room.
disks() {
    size=$(wc -c <whole)
    mkdir -p disk
    for share in $shares; do
        room=$((size * share / 1000 / 4096 * 4096 + 4096))
        [ $room -lt "$size" ] || continue
        mount -t tmpfs -o size=$room none disk || exit 1
        what="otimes $command $words -o disk/$file of $room bytes"
        status=0
        # shellcheck disable=SC2086
        message=$("$otimes" $command $words -q -o disk/$file 2>&1 >/dev/null) || status=$?
        expect_refused "disk/$file.*(No space left on device|disk space: expected)"
        expect_absent disk/$file disk/$file.tmp
        mount -o remount,ro disk
        refused disk/x "Read-only file system"
        umount disk
    done
}

# A reader that goes away ends the program without a word.
pipes() {
    what="otimes $command $words $1 | head -c 1"
    # shellcheck disable=SC2086
    (
        status=0
        "$otimes" $command $words $1 2>err || status=$?
        echo $status >status
    ) | head -c 1 >out
    status=$(cat status)
    [ "$status" -eq 141 ] || [ "$status" -eq 0 ] || failed "$what: expected exit status 0 or 141, got $status"
    expect_empty err
}

for command in $(commands | grep -v '^plot$'); do
    forms "$command"
    # All commands write through the same files: what they share is looked at with some.
    case $command in
    bigram | convert | diff | heads | report) much=1 blocks_of='0 1' shares='0 300 900' ;;
    *) much='' blocks_of=0 shares=300 files=${files%% *} ;;
    esac
    for file in $files; do
        if [ -n "${OTIMES_MAY_MOUNT:-}" ]; then
            # shellcheck disable=SC2086
            "$otimes" $command $words -q -o $file || failed "otimes $command"
            mv $file whole
            disks
            continue
        fi
        names
        in_use
        ! (ulimit -f 1) 2>/dev/null || no_room_for_a_file
    done
    [ -z "${OTIMES_MAY_MOUNT:-}" ] || continue
    format=
    [ "$command" = diff ] || input
    case $command in
    report) pipes '-q -o -' ;;
    convert) ;;
    *)
        pipes '-q'
        pipes '-q --format tsv'
        ;;
    esac
done

if [ -z "${OTIMES_MAY_MOUNT:-}" ]; then
    if unshare -rm mount -t tmpfs none /mnt 2>/dev/null; then
        OTIMES_MAY_MOUNT=1 unshare -rm sh "$root/tests/cli/faults.sh" "$otimes" "$root" ||
            failed "on disks of its own"
    else
        echo "skipped: what needs a disk of its own, which may not be mounted here"
    fi
fi
finish
