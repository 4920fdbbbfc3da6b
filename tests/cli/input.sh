# SPDX-License-Identifier: MIT
#
# Models that are not there or are none: one line, exit 1, no output.
. "$(dirname "$0")/lib.sh"

need_model

mkdir "$work/empty"
: >"$work/nothing.safetensors"
printf 'not a model' >"$work/junk.safetensors"
head -c 5000 "$model/model.safetensors" >"$work/short.safetensors"
mkdir "$work/cut"
cp "$model/config.json" "$work/cut/"
head -c 5000 "$model/model.safetensors" >"$work/cut/model.safetensors"

for command in $(model_commands); do
    for path in no-such-model empty nothing.safetensors junk.safetensors short.safetensors cut; do
        run "$command" "$work/$path" -o "$work/x.h5"
        expect_error 1 "^otimes $command: .*$path.*: "
        expect_absent "$work/x.h5" "$work/x.h5.tmp"
    done
done
for command in $(weight_commands); do
    run "$command" "$model" --config "$work/no-such-config.json" -o "$work/x.h5"
    expect_error 1 'no-such-config\.json'
    expect_absent "$work/x.h5" "$work/x.h5.tmp"
done
finish
