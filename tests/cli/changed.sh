# SPDX-License-Identifier: MIT
#
# Weights that are cut short, written over, lengthened or touched while they are read: one line, exit 1,
# nothing under the final name, and a run that can be gone on with once they are as they were. Weights
# whose name went to another file are read to their end.
# OTIMES_MOMENTS: at how many moments of each long run (default: 1); OTIMES_SEED: other moments.
. "$(dirname "$0")/lib.sh"

need_model
[ -r /proc/self/maps ] || exit 77
moments=${OTIMES_MOMENTS:-1}
seed=${OTIMES_SEED:-7}
SOURCE_DATE_EPOCH=86400
export SOURCE_DATE_EPOCH
cd "$work" || exit 1

# How, file
change() {
    case $1 in
    empty) : >"$2" ;;
    cut) truncate -s 4097 "$2" ;;
    over) head -c 65536 /dev/urandom | dd of="$2" conv=notrunc bs=65536 2>/dev/null ;;
    longer) echo more >>"$2" ;;
    touched) touch "$2" ;;
    renamed)
        head -c 10000 /dev/urandom >"$2.new"
        mv "$2.new" "$2"
        ;;
    esac
}

# Waits until the running program has the file open.
wait_until_mapped() {
    while kill -0 "$program" 2>/dev/null && ! grep -q "$1" "/proc/$program/maps" 2>/dev/null; do
        :
    done
}

# And then until it waits for something.
wait_until_asleep() {
    while grep -q '^State:.[RD]' "/proc/$program/status" 2>/dev/null; do
        :
    done
}

# The program waits for a reader once its model is open: changed before anything of it was read.
before_reading() {
    for how in empty cut over longer touched renamed; do
        rm -rf m fifo
        mkdir m
        cp -p "$(folder_of "$command")"/*.* m/
        mkfifo fifo
        what="otimes $command, weights $how before they were read"
        # shellcheck disable=SC2046 # words on purpose
        "$otimes" "$command" m $(words_of "$command") --format tsv -o fifo 2>err &
        program=$!
        wait_until_mapped m/model.safetensors
        wait_until_asleep
        change $how m/model.safetensors
        cat fifo >got &
        reader=$!
        status=0
        wait $program || status=$?
        (: <>fifo) # the end of what nobody has written
        wait $reader
        if [ $how = renamed ]; then
            expect_status 0
            cmp -s got whole || failed "$what: the result differs"
        else
            expect_status 1
            expect_match err "^otimes $command: m/model.safetensors: changed while it was read: expected [0-9]+ bytes of [0-9.]+, got [0-9]+ bytes of [0-9.]+\$"
            [ "$(wc -l <err)" -eq 1 ] || failed "$what: expected one line of error"
        fi
    done
}

for command in $(weight_commands | grep -Ev '^(convert|report)$'); do
    rm -rf m fifo
    mkdir m
    cp -p "$(folder_of "$command")"/*.* m/
    what="otimes $command"
    # shellcheck disable=SC2046
    "$otimes" "$command" m $(words_of "$command") --format tsv -o fifo 2>err || failed "$what"
    mv fifo whole
    before_reading
done

# What came of a run in whose middle the weights changed: all of it, or one line and nothing.
judge() {
    expect_absent x.out.tmp
    if [ $status -eq 0 ]; then
        cmp -s x.out whole.out || failed "$what: the result differs"
        return
    fi
    expect_status 1
    expect_match err "^otimes [a-z]+: model.bin: (cut short, or its disk failed, while it was read|changed while it was read: expected [0-9]+ bytes of [0-9.]+, got [0-9]+ bytes of [0-9.]+(; --resume goes on once it is as it was)?)\$"
    [ "$(wc -l <err)" -eq 1 ] || failed "$what: expected one line of error"
    [ "$(cat x.out)" = before ] || failed "$what: the file before is lost"
    [ $how != renamed ] || failed "$what: expected its result"
    errors=$((errors + 1))
}

# What is left of a run that read what was there before goes on with just that.
resume() {
    if [ -e x.out.journal ]; then
        status=0
        # shellcheck disable=SC2086
        "$otimes" $line -o x.out --resume >out 2>err || status=$?
        what="$what, resumed"
        expect_status 0
        cmp -s x.out whole.out || failed "$what: the result differs"
        expect_absent x.out.journal x.out.tmp x.out.part
        resumed=$((resumed + 1))
    fi
}

at_moments() {
    errors=0 resumed=0 count=0
    while [ $count -lt $((6 * moments)) ]; do
        how=$(echo empty cut over longer touched renamed | cut -d ' ' -f $((count % 6 + 1)))
        draw
        delay=$(awk "BEGIN {print $length * $share / 1000}")
        what="otimes $line, weights $how after $delay s of $length"
        cp -p kept.bin model.bin
        echo before >x.out
        # shellcheck disable=SC2086
        "$otimes" $line -o x.out >out 2>err &
        program=$!
        wait_until_mapped model.bin
        sleep "$delay"
        change $how model.bin
        status=0
        wait $program || status=$?
        judge
        rm -f model.bin
        cp -p kept.bin model.bin
        resume
        count=$((count + 1))
    done
    echo "$line: $length s, $count changes, $errors errors, $resumed gone on with"
}

make_model kept.bin 32 8 20 4 8200
while read -r line; do
    cp -p kept.bin model.bin
    begin=$(date +%s%N)
    what="otimes $line" status=0
    # shellcheck disable=SC2086
    "$otimes" $line -o x.out >out 2>err || status=$?
    length=$(awk "BEGIN {print ($(date +%s%N) - $begin) / 1e9}")
    expect_status 0
    mv x.out whole.out
    at_moments
done <<END
compose model.bin --threads 2 --memory 5M --components 3 --ends
bigram model.bin --threads 2 --columns 0-255 --top 1 --full
circuit model.bin --threads 2 --columns 0-255 --head 3.1 --which ov --top 1 --full
convert model.bin
heads model.bin --threads 2
report model.bin --vocab 100 --without roles,compose,heads
END
finish
