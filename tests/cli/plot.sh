# SPDX-License-Identifier: MIT
#
# otimes plot: finds a Python with the package, hands everything over as words, says what is wrong in one line.
# Python programs of our own stand in for Python where the package is not to be had.
. "$(dirname "$0")/lib.sh"

need_model
cd "$work" || exit 1
unset OTIMES_PYTHON
"$otimes" heads "$model" -q -o heads.h5 || failed "heads"

# A stand-in that writes down what it is given and makes the picture that was asked for.
mkdir standin none
cat >standin/python3 <<'END'
#!/bin/sh
for word; do
    printf '%s\n' "$word"
    case $word in --output=*) : >"${word#--output=}" ;; esac
done >>given
END
# One without the package, and one that is no Python but succeeds.
printf '#!/bin/sh\necho >>tried\nexit 97\n' >none/python3
cp none/python3 none/python
printf '#!/bin/sh\nexit 0\n' >silent
printf '#!/bin/sh\nkill -SEGV $$\n' >falls
printf '#!/bin/sh\nexit 1\n' >fails
chmod +x standin/python3 none/python3 none/python silent falls fails

# Where it looks: --python, $OTIMES_PYTHON, PATH.
given() {
    expect_status 0
    expect_empty out
    expect_empty err
    expect_file "$work/given"
    mv "$work/given" "$work/last"
}
run plot heads.h5 -o x.svg --python "$work/standin/python3"
given
OTIMES_PYTHON=$work/standin/python3
export OTIMES_PYTHON
run plot heads.h5 -o x.svg
given
unset OTIMES_PYTHON
before=$PATH
PATH=$work/none:$work/standin:$before
run plot heads.h5 -o x.svg --python python3
expect_error 1 '^otimes plot: python3: cannot be run as Python$'
PATH=$work/standin:$before
run plot heads.h5 -o x.svg
given
rm -f tried
PATH=$work/none
run plot heads.h5 -o x.svg
PATH=$before
[ "$(wc -l <tried)" -eq 2 ] || failed "$what: expected python3 and python tried once each"
expect_error 1 "^otimes plot: no Python with the package otimes: expected one of .*PATH; pip install 'otimes\[plot\]' from the source's root \(or --python PATH\)$"
# A Python beside the program comes before PATH's.
mkdir bin
cp "$otimes" bin/otimes
cp standin/python3 bin/python3
held=$otimes
if ldd "$held" 2>/dev/null | grep -q 'not found'; then
    echo "skipped: the program cannot be copied"
else
    otimes=$work/bin/otimes
    LD_LIBRARY_PATH=$(dirname "$held") && export LD_LIBRARY_PATH
    PATH=$work/none:$before
    run plot heads.h5 -o x.svg
    given
    PATH=$before
    unset LD_LIBRARY_PATH
    otimes=$held
fi

# All that it was told, each one word, whatever it holds.
odd='a b;$(touch x)`touch y`'"'"'"*'
run plot --python "$work/standin/python3" --what "$odd" --layer 0,1 --head 2 --text -1 --position -2 --target 0 --array "$odd" \
    --top 7 --select "pair=$odd" --select token=-x --dark --dpi 90 --size 5x3.5 -o "$odd.png" -- -heads.h5
given
for word in "--what=$odd" --layer=0,1 --head=2 --text=-1 --position=-2 --target=0 "--array=$odd" --top=7 "--select=pair=$odd" \
    --select=token=-x --dark --dpi=90 --size=5x3.5 "--output=$odd.png" -- -heads.h5; do
    grep -Fxq -e "$word" last || failed "$what: Python was not given '$word'"
done
[ "$(tail -n 1 last)" = -heads.h5 ] || failed "$what: the file is not last"
expect_absent x y

# What Python did.
run plot heads.h5 -o n.svg --python "$work/silent"
expect_error 1 'n.svg: was not written'
run plot heads.h5 -o n.svg --python "$work/falls"
expect_error 1 '^otimes plot: heads.h5: damaged: Python fails on it with signal 11$'
run plot heads.h5 -o n.svg --python "$work/fails"
expect_status 1
expect_empty err
run plot heads.h5 -o n.svg --python "$work/nowhere/python"
expect_error 1 'nowhere/python: cannot be run as Python$'
expect_absent n.svg n.svg.tmp

# A signal to the program alone stops Python too, and what is said then is true: where Python was done all the
# same, there is a picture.
cat >runs <<'END'
#!/bin/sh
echo $$ >began
for i in 0 1 2 3 4 5 6 7 8 9; do sleep 0.5; done
echo >unstopped
END
cat >finishes <<'END'
#!/bin/sh
for word; do case $word in --output=*) output=${word#--output=} ;; esac; done
trap 'echo >"$output"; exit 0' TERM
. ./runs
END
chmod +x runs finishes
stop() {
    rm -f began n.svg
    what="otimes plot, $1 stopped"
    status=0
    "$otimes" plot heads.h5 -o n.svg --python "./$1" >out 2>err &
    pid=$!
    while [ ! -s began ]; do sleep 0.01; done
    kill -TERM "$pid"
    wait "$pid" || status=$?
    expect_absent unstopped
}
stop runs
expect_status 143
expect_match err '^otimes plot: stopped by signal 15, nothing was written$'
expect_absent n.svg
stop finishes
expect_status 0
expect_empty err
expect_file n.svg
rm n.svg

# Wrong usage is told before any Python is looked for.
run plot
expect_error 2 'FILE.h5: expected 1 operands, got none'
run plot heads.h5
expect_error 2 '--output: expected a name that ends in .png, .svg or .pdf, got none'
run plot heads.h5 other.h5 -o x.svg
expect_error 2 'other.h5: expected at most 1 operands'
run plot heads.h5 -o x.svg --format tsv
expect_error 2 '--format: expected none'
for junk in 3 x3 3x 0x4 4x101 4x4x4 -4x4 4,4 1e1x4; do
    run plot heads.h5 -o x.svg --size="$junk"
    expect_error 2 '--size: expected WIDTHxHEIGHT in inches'
done
for junk in '' x 1.5 1-2 99999999999; do
    for option in text position target; do
        run plot heads.h5 -o x.svg --$option="$junk"
        expect_error 2 "--$option: expected a number"
    done
done
for junk in x =x ''; do
    run plot heads.h5 -o x.svg --select="$junk"
    expect_error 2 '--select: expected AXIS=LABEL'
done
run plot heads.h5 -o x.svg --dpi 1
expect_error 2 '--dpi: expected '
run plot heads.h5 -o x.svg --top 0
expect_error 2 '--top: expected '

# With the package itself.
PYTHONPATH=$root/lib/python
export PYTHONPATH
for python in "${OTIMES_PACKAGE_PYTHON:-}" "$root/build/venv/bin/python" "$root/build/package/bin/python" python3; do
    if [ -n "$python" ] && "$python" -c 'import otimes.plot' 2>/dev/null; then
        found=$python
        break
    fi
done
if [ -z "${found:-}" ]; then
    echo "skipped in part: no Python with numpy, xarray, h5netcdf and matplotlib"
    finish
fi
for suffix in png svg pdf; do
    run plot heads.h5 -o real.$suffix --python "$found"
    expect_status 0
    expect_empty out
    expect_empty err
    expect_file real.$suffix
done
run plot heads.h5 --list --python "$found"
expect_status 0
expect_match out '^scores +[a-z]'
expect_match out '^eigenvalues +all eigenvalues'
# A folder with files that bear the names of Python's own is nothing that is run.
mkdir trap
echo 'open("sprung", "w")' | tee trap/signal.py trap/numpy.py trap/matplotlib.py trap/logging.py >trap/otimes.py
run_in_trap() {
    cd trap && run plot ../heads.h5 -o t.svg --python "$found"
    cd ..
}
run_in_trap
expect_status 0
expect_absent trap/sprung
while read -r words; do
    # shellcheck disable=SC2086
    run plot $words --python "$found"
    read -r expected
    expect_error 1 "$expected"
done <<'END'
none.h5 -o x.png
^otimes plot: none.h5: No such file or directory$
falls -o x.png
^otimes plot: falls: expected HDF5 as the commands of otimes write it, got another format$
heads.h5 -o x.gif
^otimes plot: x.gif: expected a name that ends in .png, .svg or .pdf$
heads.h5 -o nowhere/x.png
^otimes plot: nowhere/x.png: No such file or directory$
heads.h5 -o x.png --what nothing
^otimes plot: heads.h5: what: expected scores, eigenvalues, .*, got "nothing"$
heads.h5 -o x.png --what offsets
^otimes plot: heads.h5: what: offsets: the file lacks QK_offset_trace, QK_offset_norm \(otimes heads --offsets
heads.h5 -o x.png --layer 99
^otimes plot: heads.h5: layer: expected 0 to [0-9]+, got "99"$
heads.h5 -o x.png --position 3
^otimes plot: heads.h5: position: the picture scores of heads has no such choice$
END
head -c 20000 heads.h5 >cut.h5
run plot cut.h5 -o x.png --python "$found"
expect_error 1 '^otimes plot: cut.h5: damaged: '
if [ "$(id -u)" -ne 0 ]; then
    mkdir locked && chmod a-w locked
    run plot heads.h5 -o locked/x.png --python "$found"
    expect_error 1 'locked/x.png: Permission denied'
fi
run plot heads.h5 -o x.png --python "$found" --select nothing=1
expect_error 1 'nothing: the picture scores of heads has no such choice'
expect_absent x.png x.png.tmp
finish
