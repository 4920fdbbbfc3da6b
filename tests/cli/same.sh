# SPDX-License-Identifier: MIT
#
# Every command, in every form, gives the same bytes whatever the number of processors, the surroundings
# and what memory held before; and every date comes from SOURCE_DATE_EPOCH where that is set.
# OTIMES_RUNS: how often each is run again (default: 1, with all that may differ at once; more: with one
# thing after another); OTIMES_CORES: also says how much numbers differ by the kernels of these processors
# (OpenBLAS' names of them).
. "$(dirname "$0")/lib.sh"

need_model
again=${OTIMES_RUNS:-1}
SOURCE_DATE_EPOCH=86400
export SOURCE_DATE_EPOCH
cd "$work" || exit 1
mkdir here there
for folder in here there; do
    ln -s "$model" $folder/m
    ln -s "$(folder_of neurons)" $folder/mlps
    for i in 1 2 3 4 5 6; do
        echo " self. self$i = self.x($i)"
    done >$folder/lines
    "$otimes" info "$model" -o $folder/a.h5
done
locale=$(locale -a 2>/dev/null | grep -Ei '^(tr_TR|de_DE|fr_FR)' | head -n 1)
echo "locale ${locale:-C.UTF-8}"
# Both are programs of util-linux; without them what they do is left out.
one_processor='' no_layout=''
if command -v taskset >/dev/null; then
    one_processor="taskset -c $(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')"
fi
if setarch -R true 2>/dev/null; then
    no_layout='setarch -R'
fi

# The words that make run number $1 another one.
unlike() {
    case $1 in
    0) echo "$one_processor $no_layout env MALLOC_PERTURB_=165 TZ=Asia/Kathmandu LC_ALL=${locale:-C.UTF-8} OMP_DYNAMIC=true" ;;
    1) echo "$one_processor" ;;
    2) echo "$no_layout" ;;
    3) echo "env MALLOC_PERTURB_=90" ;;
    4) echo "env TZ=America/St_Johns" ;;
    5) echo "env LC_ALL=${locale:-C.UTF-8} LANG=${locale:-C.UTF-8}" ;;
    6) echo "env OMP_DYNAMIC=true OMP_NUM_THREADS=3" ;;
    7) echo "env OPENBLAS_NUM_THREADS=2 OMP_NUM_THREADS=2 OMP_PROC_BIND=true" ;;
    8) echo "env OMP_SCHEDULE=static OMP_WAIT_POLICY=active" ;;
    *) echo "env NOTHING=$1" ;; # another time, another layout of memory
    esac
}

same() {
    what="otimes $line -o $file"
    status=0
    # shellcheck disable=SC2086 # words on purpose
    (cd here && "$otimes" $line -o $file) >out 2>err || status=$?
    expect_status 0
    count=0
    while [ $count -lt "$again" ]; do
        number=$count
        [ "$again" -eq 1 ] || number=$((count + 1))
        what="$(unlike $number) otimes $line -o $file"
        status=0
        # shellcheck disable=SC2046,SC2086
        (cd there && $(unlike $number) "$otimes" $line -o $file) >out 2>err || status=$?
        expect_status 0
        cmp -s here/$file there/$file || failed "$what: the result differs"
        count=$((count + 1))
    done
}

# How much numbers differ by the kernels of a processor: the largest relative difference of all entries.
by_cores() {
    for core in $OTIMES_CORES; do
        # shellcheck disable=SC2086
        (cd there && OPENBLAS_CORETYPE=$core "$otimes" $line -o $file) >out 2>err
        "$otimes" diff here/$file there/$file --format tsv >out 2>err || :
        awk -F '\t' -v line="$line" -v core="$core" '
            $1 == "max_rel" && $3 + 0 > most {most = $3 + 0; where = $2}
            $1 == "max_abs" {absolute[$2] = $3}
            END {
                if (most) printf "%s, %s: %.2g in %s (absolute %.2g)\n", line, core, most, where, absolute[where]
                else printf "%s, %s: 0\n", line, core
            }' out
    done
}

while read -r line; do
    case $line in
    report*) files=x.html ;;
    convert*) files='x.safetensors x.h5' ;;
    *--full*) files=x.h5 ;;
    *) files='x.h5 x.tsv' ;;
    esac
    for file in $files; do
        same
        case ${OTIMES_CORES:+$file} in
        x.h5) by_cores ;;
        esac
    done
done <<END
ablate m --text-file lines --batch 30
activations m --text-file lines --batch 30 --names *.hook_resid_*,*.hook_pattern
bigram m --top 2
bigram m --full --columns 0-99
bigram m --full=float16 --columns 0-99
circuit m --full --head 1.0
circuit m --head 0.1 --top 3
compare m m
compose m
compose m --ends --components 3 --memory 5M
convert m
decompose m --text-file lines --batch 30
diff a.h5 a.h5
heads m
info m --threads 2
logits m --text-file lines --batch 30
neurons mlps
orders m --text-file lines --batch 30
paths m --text-file lines --batch 30
patterns m --text-file lines --batch 30
qk m
report m --vocab 50
roles m
tokens m --text-file lines
trigrams m
virtual m
END
for command in $(commands | grep -v '^plot$'); do
    grep -q "^$command " "$root/tests/cli/same.sh" || failed "$command: not among the runs"
done

# Also by the option, which the result names.
for threads in 1 2 5; do
    run heads "$model" --threads $threads -o heads.h5
    expect_status 0
    [ $threads -eq 1 ] && cp heads.h5 first.h5
    run diff first.h5 heads.h5 --atol 0 --rtol 0
    expect_status 0
done

# Dates: in HDF5, in lines, in the head of weights, in a page.
for epoch in 0 86400 253402300799; do
    case $epoch in
    0) date=1970-01-01T00:00:00Z ;;
    86400) date=1970-01-02T00:00:00Z ;;
    *) date=9999-12-31T23:59:59Z ;;
    esac
    SOURCE_DATE_EPOCH=$epoch
    run info "$model" --format tsv
    expect_match out "^# date: $date\$"
    for name in d.h5 d.safetensors d.html; do
        case $name in
        *.html) run report "$model" --vocab 20 --without circuits,compose,heads,roles -o $name ;;
        *) run convert "$model" -o $name ;;
        esac
        expect_status 0
        grep -aq "$date" $name || failed "$what: expected the date $date with SOURCE_DATE_EPOCH=$epoch"
        ! grep -aq "$(date -u +%Y-%m-%dT)" $name || failed "$what: today's date with SOURCE_DATE_EPOCH=$epoch"
    done
done
for epoch in -1 x 1e9 ' 5' 5x 0x10 1.5 253402300800 9223372036854775808 99999999999999999999999; do
    SOURCE_DATE_EPOCH=$epoch
    for name in e.h5 e.tsv e.safetensors e.html; do
        case $name in
        *.html) run report "$model" --vocab 20 --without circuits,compose,heads,roles -o $name ;;
        *.safetensors) run convert "$model" -o $name ;;
        *) run info "$model" -o $name ;;
        esac
        expect_error 2 "SOURCE_DATE_EPOCH: expected an integer from 0 to 253402300799, got '"
        expect_absent $name $name.tmp
    done
done
SOURCE_DATE_EPOCH=
run info "$model" --format tsv
expect_match out "^# date: 20[0-9][0-9]-"
finish
