#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Goes through everything in one process for so many minutes: all goldens, the bundled model, the shared
# checkpoints, all kinds of tokenizers, and paths where nothing can be opened.
# Usage: sh tests/soak/run.sh MINUTES [build folder]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
minutes=${1:?minutes}
build=${2:-$root/build}
cd "$root"
shared=../shared/weights
set -- notebooks-data/induction-2l absent README.md tests absent/tokenizer
for model in tests/golden/*/config.json tests/golden/*/*.bin; do
    [ ! -e "$model" ] || set -- "$@" "${model%/config.json}"
done
for model in arena_sorted_list gpt_nano_sort grokking_induction/induction_head_finite.pth \
    grokking_induction/induction_head_infinite.tl.safetensors stories260K/stories260K.bin \
    stories260K/tinyllamas-stories-260k-f32.gguf stories260K/stories260k-v3-q8_0.derived.gguf \
    tinystories656k tracr_induction; do
    [ ! -e "$shared/$model" ] || set -- "$@" "$shared/$model"
done
for kind in tests/data/tokens/*/; do
    set -- "$@" "${kind}tokenizer"
done
export OMP_WAIT_POLICY=passive
exec "$build/tests/soak" --minutes "$minutes" "$@"
