# SPDX-License-Identifier: MIT
#
# Checkpoints of strangers: files that name other files stay in the model's folder, links are followed
# as caches of downloads lay them, what is no regular file is refused without waiting, and no name from
# a file reaches the terminal as more than text.
. "$(dirname "$0")/lib.sh"

golden=$root/tests/golden/llama_sharded
[ -f "$golden/model.safetensors.index.json" ] || exit 77
cd "$work" || exit 1
shard=$(sed -n 's/.*: "\(model-00001[^"]*\)".*/\1/p' "$golden/model.safetensors.index.json" | head -n 1)
secret=$work/outside.safetensors
cp "$golden/$shard" "$secret"

# What the index calls the first shard becomes $1, as JSON text.
index_names() {
    rm -rf m
    cp -r "$golden" m
    python3 - "$shard" "$1" <<'PY'
import sys
path = "m/model.safetensors.index.json"
text = open(path, encoding="utf-8").read()
assert f'"{sys.argv[1]}"' in text
open(path, "w", encoding="utf-8").write(text.replace(f'"{sys.argv[1]}"', f'"{sys.argv[2]}"'))
PY
}

for name in "$secret" /outside.safetensors ../outside.safetensors m/../../outside.safetensors \
    "./$shard" "sub/$shard" . .. '' '\u0000'; do
    index_names "$name"
    [ "$name" != "sub/$shard" ] || { mkdir m/sub && mv "m/$shard" m/sub/; }
    run info m
    expect_error 1 '^otimes info: m/model\.safetensors\.index\.json: '
done
index_names "$shard"
run info m
expect_status 0

# ---- links ----

# As Hugging Face's cache lays a snapshot: links to blobs beside its folder.
mkdir -p cache/blobs cache/snapshots/rev
for file in "$golden"/*; do
    name=$(basename "$file")
    cp "$file" "cache/blobs/blob-of-$name"
    ln -s "../../blobs/blob-of-$name" "cache/snapshots/rev/$name"
done
run heads cache/snapshots/rev --format tsv
expect_status 0
sed 's/^# model_path.*//' out >linked
run heads m --format tsv
expect_status 0
sed 's/^# model_path.*//' out >plain
grep -v '^#' linked >linked.numbers
grep -v '^#' plain >plain.numbers
cmp -s linked.numbers plain.numbers || failed "$what: other numbers through links"

# shard, what it is instead
instead() {
    index_names "$shard"
    rm "m/$shard"
    case $1 in
    fifo) mkfifo "m/$shard" ;;
    loop) ln -s "$shard" "m/$shard" ;;
    dangling) ln -s no-such-blob "m/$shard" ;;
    folder) mkdir "m/$shard" ;;
    device) ln -s /dev/zero "m/$shard" ;;
    esac
}
for kind in fifo loop dangling folder device; do
    instead $kind
    what="a $kind for a shard"
    status=0
    timeout 60 "$otimes" info m >out 2>err || status=$?
    expect_error 1 "$shard: "
done

# ---- names ----

# Fails where a file holds what moves a terminal's cursor, its colours or its direction of writing.
expect_text_only() {
    python3 - "$work/$1" <<'PY' || failed "$what: $1 holds more than text"
import sys
import unicodedata
text = open(sys.argv[1], encoding="utf-8").read()
bad = sorted({c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")})
print(bad) if bad else None
sys.exit(bool(bad))
PY
}

# A file with a name that is a terminal's command, in one of the places where names stand.
cat >name.py <<'PY'
import json
import shutil
import struct
import sys

place, golden = sys.argv[1:]
bad = "\x1b]0;gone\x07\x1b[2J\r\nok\u202egnp\u009b31m\x7f\u2028"
shutil.rmtree("n", ignore_errors=True)
shutil.copytree(golden, "n")
data = open("n/model.safetensors", "rb").read()
size = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8 : 8 + size])
config = json.load(open("n/config.json", encoding="utf-8"))
body = data[8 + size :]
first = min(name for name in header if name != "__metadata__")
if place == "tensor":
    header[bad] = {"dtype": "F32", "shape": [1], "data_offsets": [len(body), len(body) + 4]}
    body += bytes(4)
elif place == "dtype":
    header[first]["dtype"] = bad
elif place == "metadata":
    header["__metadata__"] = {bad: bad}
else:
    config[place] = bad
text = json.dumps(header).encode()
open("n/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + body)
json.dump(config, open("n/config.json", "w", encoding="utf-8"))
PY
for place in tensor dtype metadata model_type activation_function n_head architectures _name_or_path; do
    python3 name.py $place "$root/tests/golden/gpt2"
    run info n
    expect_text_only out
    expect_text_only err
    case $place in
    metadata | activation_function | architectures | _name_or_path) ;;
    *) expect_error 1 '^otimes info: n' ;;
    esac
done

odd=$(printf 'a\033[2Jb\342\200\256c')
cp -r "$root/tests/golden/gpt2" "$odd"
for command in $(weight_commands); do
    run "$command" "$odd" -o "$odd.h5"
    expect_text_only out
    expect_text_only err
    run "$command" "$odd/none" -o "$odd.h5"
    expect_text_only err
    expect_error 1 "^otimes $command: "
done
finish
