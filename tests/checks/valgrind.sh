#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Memcheck on the program: nothing read that was never written or lies outside its block, no block
# lost. The kernels are those of a machine without AVX-512, which valgrind hides.
# Usage: sh valgrind.sh OTIMES ROOT COMMAND     the command on a small model, and on a damaged one
#        sh valgrind.sh OTIMES ROOT cli/X.sh    that test of the command line, which may take long
. "$(dirname "$0")/../cli/lib.sh"

command -v valgrind >/dev/null || {
    echo "skipped: no valgrind"
    exit 77
}

# The program as seen by valgrind, which writes a file for each process.
program=$otimes
otimes=$work/under/otimes
mkdir "$work/under" "$work/seen"
cat >"$otimes" <<END
#!/bin/sh
exec valgrind --quiet --num-callers=30 --leak-check=full --show-leak-kinds=definite \\
    --log-file='$work/seen/%p' '$program' "\$@"
END
chmod +x "$otimes"

# As HDF5 and as text, and from a checkpoint that is cut short.
on_models() {
    run "$@" "$root/tests/golden/llama" -o "$work/results.h5"
    expect_status 0
    run "$@" "$root/tests/golden/llama" -o "$work/results.tsv"
    expect_status 0
    mkdir "$work/damaged"
    cp "$root/tests/golden/llama/"*.json "$work/damaged"
    head -c 9000 "$root/tests/golden/llama/model.safetensors" >"$work/damaged/model.safetensors"
    run "$@" "$work/damaged" -o "$work/nothing.h5"
    expect_status 1
}

case $3 in
cli/*.sh)
    sh "$root/tests/$3" "$otimes" "$root" || failed "$3 under valgrind"
    ;;
diff)
    "$program" heads "$root/tests/golden/llama" -q -o "$work/heads.h5"
    run diff "$work/heads.h5" "$work/heads.h5" -o "$work/results.h5"
    expect_status 0
    run diff "$work/heads.h5" "$root/tests/golden/llama"
    expect_status 2
    ;;
plot)
    run plot "$work/absent.h5" -o "$work/picture.svg"
    expect_status 1
    ;;
activations)
    on_models activations --text hello --names '*'
    ;;
tokens) # reads no weights
    run tokens --text hello "$root/tests/golden/llama" -o "$work/results.h5"
    expect_status 0
    run tokens --text hello "$work"
    expect_status 1
    ;;
ablate | decompose | logits | orders | paths | patterns | report)
    on_models "$3" --text hello
    ;;
*)
    on_models "$3"
    ;;
esac

for log in "$work"/seen/*; do
    [ -e "$log" ] || failed "$3: expected valgrind to see a process, it saw none"
    [ ! -s "$log" ] || {
        failed "$3: valgrind reports"
        cat "$log"
    }
done
finish
