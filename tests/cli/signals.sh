# SPDX-License-Identifier: MIT
#
# SIGINT, SIGTERM and SIGKILL at random moments of every command that writes: what stands under the final
# name is the result or what was there before, whole; nothing else stays but what --resume goes on with,
# and that ends in the bytes of a run that nothing happened to. kill.sh does more for large tables.
# OTIMES_MOMENTS: at how many moments of each run that can be gone on with (default: 1; a fifth of that of
# others); OTIMES_SEED: other moments; OTIMES_COMMANDS: of these commands alone.
. "$(dirname "$0")/lib.sh"

need_model
command -v timeout >/dev/null || exit 77
moments=${OTIMES_MOMENTS:-1}
seed=${OTIMES_SEED:-7}
echo "seed $seed"
SOURCE_DATE_EPOCH=86400
export SOURCE_DATE_EPOCH
cd "$work" || exit 1
ln -s "$model" m
ln -s "$(folder_of neurons)" mlps
for i in 1 2 3 4 5 6; do
    echo " self. self$i = self.x($i)"
done >lines

now() {
    date +%s%N
}

# Ends with the shortest of two runs in `length`: the other waited for the disk.
measure() {
    length=1000
    for again in 1 2; do
        begin=$(now)
        status=0
        # shellcheck disable=SC2086 # words on purpose
        "$otimes" $line -o "$file" >out 2>err || status=$?
        length=$(awk "BEGIN {t = ($(now) - $begin) / 1e9; print t < $length ? t : $length}")
        expect_status 0
    done
    mv "$file" whole
}

# One run that gets $1 after a share of its time, and the one after it, with $resume.
end_by() {
    draw
    delay=$(awk "BEGIN {print $length * $share / 1000}")
    what="otimes $line -o $file, SIG$1 after $delay s of $length"
    cp before "$file"
    status=0
    # shellcheck disable=SC2086
    timeout --foreground --preserve-status -s "$1" "$delay" "$otimes" $line -o "$file" >out 2>err || status=$?
    runs=$((runs + 1))
    case $1,$status in
    *,0) cmp -s "$file" whole || failed "$what: the result differs" ;;
    KILL,137) cmp -s "$file" before || cmp -s "$file" whole || failed "$what: the file before is lost" ;;
    # Before the program knows of signals, or after.
    INT,130 | TERM,143)
        cmp -s "$file" before || failed "$what: the file before is lost"
        [ ! -s err ] || expect_match err "^otimes [a-z]+: stopped by signal [0-9]+(, nothing was written|; --resume goes on( from text [0-9]+)?)\$"
        expect_absent "$file.tmp"
        [ -e "$file.journal" ] || expect_absent "$file.part"
        ;;
    *) expect_status 0 ;;
    esac
    [ ! -e "$file.journal" ] || left=$((left + 1))
    [ $status -eq 0 ] || ended=$((ended + 1))
    what="$what, again"
    status=0
    # shellcheck disable=SC2086
    "$otimes" $line -o "$file" $resume >out 2>err || status=$?
    expect_status 0
    cmp -s "$file" whole || failed "$what: the result differs"
    expect_absent "$file.tmp" "$file.journal" "$file.part"
}

signalled() {
    resume='' times=$(((moments + 4) / 5)) signals='INT TERM KILL'
    [ "$moments" -gt 1 ] || signals=$(printf 'INT\nTERM\nKILL\n' | sed -n "$((lines % 3 + 1))p")
    case $file in
    *.h5) if "$otimes" "${line%% *}" --help | grep -q -e '--\[no-\]resume'; then
        resume=--resume times=$moments signals='INT TERM KILL'
    fi ;;
    esac
    measure
    runs=0 ended=0 left=0
    for signal in $signals; do
        count=0
        while [ $count -lt "$times" ]; do
            end_by "$signal"
            count=$((count + 1))
        done
    done
    lines=$((lines + 1))
    echo "$line -o $file: $length s, $runs runs, $ended ended early, $left left a journal"
}

echo before >before
"$otimes" info m -o a.h5
lines=0
while read -r line; do
    case " ${OTIMES_COMMANDS:-${line%% *}} " in
    *" ${line%% *} "*) ;;
    *) continue ;;
    esac
    case $line in
    report*) files=x.html ;;
    convert*) files='x.safetensors x.h5' ;;
    *--full* | *--corpus*) files=x.h5 ;;
    *) files='x.h5 x.tsv' ;;
    esac
    for file in $files; do
        signalled
    done
done <<END
ablate m --text-file lines --batch 30
activations m --text-file lines --batch 30 --names *.hook_resid_*,*.hook_pattern
logits m --text-file lines --batch 30
orders m --text-file lines --batch 30
patterns m --text-file lines --batch 30
decompose m --text-file lines --batch 30
paths m --text-file lines --batch 30
bigram m --top 2
bigram m --full --columns 0-99
bigram m --full=float16 --columns 0-99
circuit m
circuit m --full --head 1.0
compose m
compose m --ends --components 3 --memory 5M
heads m
qk m
roles m
neurons mlps
trigrams m
virtual m
compare m m
convert m
info m
tokens m --text-file lines
diff a.h5 a.h5
report m --vocab 50
END
# Every command that writes is above.
for command in $(commands | grep -v '^plot$'); do
    grep -q "^$command " "$root/tests/cli/signals.sh" || failed "$command: not among the runs"
done
finish
