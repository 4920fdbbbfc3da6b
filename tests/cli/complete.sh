# SPDX-License-Identifier: MIT
#
# otimes --complete: what may stand at a place of a line (tools/complete.h), and --commands, the table as data.
. "$(dirname "$0")/lib.sh"

# Completes: the index, then the words. Nothing is ever an error.
complete() {
    run --complete "$@"
    expect_status 0
    expect_empty err
    grep -v "$tab" "$work/out" >"$work/words" || :
    sed -n "s/^\([^$tab][^$tab]*\)$tab..*/\1/p" "$work/out" >>"$work/words"
}

# Exactly these words, in any order, and nothing said of the place.
expect_words() {
    printf '%s\n' "$@" | sort >"$work/expected"
    sort "$work/words" | cmp -s - "$work/expected" || {
        failed "$what: expected $*, got:"
        head -n 20 "$work/out" | sed 's/^/    /'
    }
}

expect_nothing() {
    expect_empty out
}

expect_files() {
    printf '\tfiles\t%s\t%s\n' "$1" "$2" | cmp -s - "$work/out" || {
        failed "$what: expected files '$2' behind $1 bytes, got:"
        head -n 5 "$work/out" | sed 's/^/    /'
    }
}

tab=$(printf '\t')
model=$root/notebooks-data/induction-2l # two layers of four heads
[ -f "$model/model.safetensors" ] || exit 77
weights='.safetensors .safetensors.index.json .gguf .pt .pth .ckpt .bin'

# Commands.
complete 1 otimes
# shellcheck disable=SC2046 # words on purpose
expect_words $(commands) help
complete 2 otimes help
# shellcheck disable=SC2046
expect_words $(commands)
complete 1 otimes de
expect_words decompose
expect_match out "^decompose${tab}where each logit"
complete 1 otimes --v
expect_words --version
complete 3 otimes help heads
expect_nothing

# Options: all that help names, with their negatives, but those that stand on the line.
for command in $(commands); do
    "$otimes" help "$command" | sed -n \
        -e 's/^ \{2,6\}\(-[a-z], \)*--\[no-\]\([a-z-]*\).*/--\2\n--no-\2/p;t' \
        -e 's/^ \{2,6\}\(-[a-z], \)*\(--[a-z][a-z-]*\).*/\2/p' >"$work/options"
    complete 2 otimes "$command" --
    # shellcheck disable=SC2046
    sed -i '/=/d' "$work/words"
    expect_words $(cat "$work/options")
done
complete 5 otimes heads --no-vocab -qo x --
for option in vocab no-vocab quiet output; do
    ! grep -q "^--$option\$" "$work/words" || failed "$what: --$option is on the line already"
done
grep -q '^--threads$' "$work/words" || failed "$what: expected --threads"
complete 4 otimes heads "$model" ''
grep -q '^--threads$' "$work/words" || failed "$what: expected options behind MODEL"
complete 4 otimes compose --set 0.0 --se # may stand several times
expect_words --set
complete 3 otimes bigram "$model" --full
expect_words --full --full=float32 --full=float16
complete 3 otimes heads "$model" -o
expect_words -o
complete 4 otimes heads "$model" -- --no
expect_nothing

# Words of choices and sets.
complete 4 otimes heads "$model" --format ''
expect_words hdf5 tsv null safetensors
complete 3 otimes heads "$model" --format=t
expect_words --format=tsv
complete 4 otimes compare "$model" --measures cka,k
expect_words cka,kernel
expect_match out "^${tab}list\$"
complete 4 otimes compare "$model" --measures cosine,cka,kernel,
expect_words cosine,cka,kernel,procrustes cosine,cka,kernel,angles

# Files.
complete 2 otimes heads x
expect_files 0 "$weights"
complete 2 otimes tokens ''
expect_files 0 '.json .model .gguf .bin'
complete 3 otimes diff a.h5 ''
expect_files 0 '.h5 .nc .hdf5'
complete 2 otimes plot ''
expect_files 0 '.h5 .nc .hdf5'
complete 5 otimes compare a b c ''
expect_files 0 "$weights"
complete 3 otimes heads "$model" --config=x
expect_files 9 .json
complete 3 otimes heads "$model" -qofoo
expect_files 3 ''
complete 4 otimes heads "$model" -qo ''
expect_files 0 ''
complete 4 otimes ablate "$model" --mean-from x
expect_files 0 ''
complete 4 otimes heads "$model" --threads ''
expect_nothing

# Heads and layers of the model, which may stand behind the place.
complete 4 otimes circuit "$model" --head ''
expect_words 0. 1.
complete 4 otimes circuit "$model" --head 1.
expect_words 1.0 1.1 1.2 1.3
complete 4 otimes circuit "$model" --head 1.0,1.3,1.
expect_words 1.0,1.3,1.1 1.0,1.3,1.2
complete 2 otimes circuit --head=0. --raw "$model"
expect_words --head=0.0 --head=0.1 --head=0.2 --head=0.3
complete 4 otimes heads "$model" --layers ''
expect_words 0 1
complete 4 otimes heads "$model" --heads 1-
expect_words 1-2 1-3
complete 4 otimes heads "$model" --heads 0,3,
expect_words 0,3,1 0,3,2
complete 4 otimes circuit "$model" --which ''
expect_words ov qk kcomp:
complete 4 otimes circuit "$model" --which kcomp:
expect_words kcomp:0.
complete 4 otimes circuit "$model" --which kcomp:0.
expect_words kcomp:0.0 kcomp:0.1 kcomp:0.2 kcomp:0.3
complete 4 otimes ablate "$model" --set 0.0,1.
expect_words 0.0,1.0 0.0,1.1 0.0,1.2 0.0,1.3 0.0,1.attn 0.0,1.mlp
complete 4 otimes decompose "$model" --at ''
expect_words final 0 0.mid 1 1.mid
complete 4 otimes activations "$model" --names b
expect_words blocks.
complete 4 otimes activations "$model" --names blocks.1.hook_resid
expect_words blocks.1.hook_resid_pre blocks.1.hook_resid_post
complete 4 otimes circuit "$root/tests/golden/no-such-model" --head ''
expect_nothing
complete 4 otimes circuit "$root/tests/cli" --head ''
expect_nothing
complete 3 otimes circuit --head ''
expect_nothing

# Its configuration is the one on the line.
cp -r "$root/tests/golden/gpt2" "$work/bare"
mv "$work/bare/config.json" "$work/other.json"
complete 4 otimes heads "$work/bare" --layers ''
expect_nothing
complete 6 otimes heads "$work/bare" --config "$work/other.json" --layers ''
expect_words 0 1
complete 5 otimes heads "$work/bare" --config="$work/other.json" --layers ''
expect_words 0 1

# Token texts, which may take seconds to read, are not: they are not needed, and may be damaged.
cp -r "$root/tests/golden/gpt2" "$work/damaged"
echo '{' >"$work/damaged/tokenizer.json"
complete 4 otimes heads "$work/damaged" --layers ''
expect_words 0 1

# What would be waited for, or read without end, is not opened.
mkfifo "$work/pipe"
for path in "$work/pipe" /dev/zero /dev/null; do
    complete 4 otimes circuit "$path" --head ''
    expect_nothing
    complete 6 otimes circuit "$work/bare" --config "$path" --head ''
    expect_nothing
done
head -c 3000 "$model/model.safetensors" >"$work/cut.safetensors"
complete 4 otimes circuit "$work/cut.safetensors" --head ''
expect_nothing

# Indices and words that mean harm.
long=$(head -c 60000 /dev/zero | tr '\0' 7)
for index in '' -1 0 3 4 99 2147483648 9223372036854775808 x 1e3 '1 ' %s; do
    complete "$index" otimes circuit
    [ "$index" = 3 ] || [ "$index" = 4 ] || expect_nothing
done
complete
expect_nothing
complete 1
expect_nothing
complete 2 otimes no-such-command
expect_nothing
odd=$(printf '\377\376\033[2J\n\t\001')
for word in '' - -- --- --= -= '--head=' '--head=,' ',' '--no-' '%s%n' '0.' '.' '..' '-1' '1-' '99999999999999999999-' \
    '9223372036854775807-' 'kcomp:,' '*' "$odd" "--$odd" "--head=$odd" "-$odd" "$long" "--$long" "--head=$long" "--head=0.$long"; do
    complete 3 otimes circuit "$model" "$word"
    complete 4 otimes circuit "$model" --head "$word"
    complete 4 otimes activations "$model" --names "$word"
    complete 4 otimes compare "$model" --measures "$word"
    complete 4 otimes ablate "$word" --set "$word"
    complete 4 otimes heads --layers "$word" "$word" "$word"
    complete 2 otimes "$word" "$word"
done

# The table as data: what is a file or a head says so, and what help calls the default is that.
run --commands
expect_status 0
expect_empty err
python3 - "$work/out" <<'END' || failed "otimes --commands"
import json
import re
import sys

bad = 0
with open(sys.argv[1], encoding="utf-8") as file:
    table = json.load(file)
for command in table["commands"]:
    for option in (o for section in command["sections"] for o in section["options"]):
        where = f"otimes {command['name']} --{option['name']}"
        path = re.search("FILE|HEADS|PATH", option["argument"] or "")
        label = re.match("heads? as LAYER", option["help"])
        if (path or label) and option["takes"] == "any":
            print(f"{where}: {option['argument']}, but it takes any text")
            bad += 1
        said = re.search(r"\(default: ([a-z]+|-?\d+)[;)]", option["help"])
        if said and option["default"] is not None and said.group(1) != str(option["default"]):
            print(f"{where}: help says default {said.group(1)}, it is {option['default']}")
            bad += 1
sys.exit(bad > 0)
END
finish
