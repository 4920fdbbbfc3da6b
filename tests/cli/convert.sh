# SPDX-License-Identifier: MIT
#
# Weights written down: which form, what is refused, and that the file opens.
. "$(dirname "$0")/lib.sh"

need_model

run convert "$model"
expect_error 2 '--format: safetensors expects a file to write'
run convert "$model" -o -
expect_error 2 '--format: safetensors expects a file to write'
run convert "$model" --format tsv
expect_error 2 '--format: expected safetensors, hdf5 or null for weights'
run convert "$model" --format null -o "$work/x"
expect_error 2 '--format: null writes nothing'
run convert "$model" -o "$work/no-such-folder/x"
expect_error 1 'no-such-folder/x.*: No such file or directory'
mkdir "$work/folder"
run convert "$model" -o "$work/folder"
expect_error 1 'folder: expected a file to write, got a directory'
for command in bigram heads info; do
    run $command "$model" --format safetensors -o "$work/x"
    expect_error 2 '--format: safetensors holds weights'
    expect_absent "$work/x"
done

# By default safetensors, by its name HDF5.
run convert "$model" -q -o "$work/folded.safetensors"
expect_status 0
expect_empty out
expect_absent "$work/folded.safetensors.tmp"
run convert "$model" -q -o "$work/weights"
expect_status 0
cmp -s "$work/weights" "$work/folded.safetensors" || {
    # The command line in them differs, and nothing else.
    a=$(tail -c 4096 "$work/weights" | cksum) b=$(tail -c 4096 "$work/folded.safetensors" | cksum)
    [ "$a" = "$b" ] || failed "two names: expected the same weights"
}
run convert "$model" -q -o "$work/folded.h5"
expect_status 0
[ "$(head -c 4 "$work/folded.h5" | tail -c 3)" = HDF ] || failed "$what: expected HDF5"

# What was written opens, and nothing is done twice.
run info "$work/folded.safetensors"
expect_status 0
expect_match out '^fold_ln +done in the file$'
run convert "$work/folded.safetensors" -q -o "$work/again.safetensors"
expect_status 0
run bigram "$work/folded.safetensors" -q --rows 1,2 --top 3
expect_status 0
grep '^top_' "$work/out" | cut -f 1,3,4 >"$work/folded.txt"
run bigram "$model" -q --rows 1,2 --top 3
grep '^top_' "$work/out" | cut -f 1,3,4 >"$work/own.txt"
[ -s "$work/own.txt" ] || failed "$what: expected rows"
cmp -s "$work/own.txt" "$work/folded.txt" || failed "$what: expected the same of both files"

# Bad provenance is one error.
printf '%s' 'x' >"$work/short.safetensors"
run info "$work/short.safetensors"
expect_error 1 'unknown format'
python=$(command -v python3) || finish
"$python" - "$work" <<'EOF2'
import json
import struct
import sys

work = sys.argv[1]
data = open(f"{work}/folded.safetensors", "rb").read()
size = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8 : 8 + size])


def write(name, text):
    header["__metadata__"]["otimes_config"] = text
    raw = json.dumps(header).encode()
    open(f"{work}/{name}.safetensors", "wb").write(struct.pack("<Q", len(raw)) + raw + data[8 + size :])


write("broken", "{")
write("list", "[]")
write("other", '{"model_type": "bert"}')
EOF2
run info "$work/broken.safetensors"
expect_error 1 'broken.safetensors: not valid JSON'
run info "$work/list.safetensors"
expect_error 1 'otimes_config: expected a JSON object'
run info "$work/other.safetensors"
expect_error 1 'unknown architecture.*got bert'

finish
