# SPDX-License-Identifier: MIT
#
# Manual pages: one for every command, with all that --help and the schema page say, and nothing that roff takes
# for more than text. Linted by mandoc and groff where these are.
. "$(dirname "$0")/lib.sh"

pages=$(dirname "$otimes")/tools/shell
[ -f "$pages/otimes.1" ] || {
    echo "skipped: no manual pages beside the program"
    exit 77
}
"$otimes" --commands >"$work/commands.json" || failed "otimes --commands"

# The pages are those of this program, and the same bytes each time but for the date.
mkdir "$work/again" "$work/dated"
python3 "$root/tools/shell/man.py" "$work/commands.json" "$root/tools/schema" "$work/again" || failed "man.py"
SOURCE_DATE_EPOCH=86400 python3 "$root/tools/shell/man.py" "$work/commands.json" "$root/tools/schema" \
    "$work/dated" || failed "man.py with SOURCE_DATE_EPOCH"
for page in "$work"/again/*.1; do
    name=$(basename "$page")
    sed 's/^\.TH \([^ ]*\) 1 "[^"]*"/.TH \1 1 ""/' "$pages/$name" | cmp -s - "$page" ||
        failed "$name: expected what man.py makes of this program's table"
    grep -q '^\.TH [A-Z-]* 1 "1970-01-02" ' "$work/dated/$name" || failed "$name: expected SOURCE_DATE_EPOCH's date"
done

# Text of a page as it will be read, each line of the source a line.
plain() {
    sed -e 's/\\f[BIR]//g' -e 's/^\\&//' -e 's/\\&$//' -e 's/\\-/-/g' -e 's/\\://g' -e "s/\\\\(aq/'/g" -e 's/\\(dq/"/g' -e 's/\\(ga/`/g' \
        -e 's/\\(ha/^/g' -e 's/\\(ti/~/g' -e 's/\\(rs/\\/g' "$1"
}

for command in $(commands); do
    page=otimes-$command.1
    [ -f "$pages/$page" ] || {
        failed "$page: expected a page of this command"
        continue
    }
    plain "$pages/$page" >"$work/plain"
    grep -q "^\.BR otimes..*$command (1)$" "$pages/otimes.1" || failed "otimes.1: expected $command"
    # Options as --help has them, word for word.
    "$otimes" help "$command" | sed -n 's/^ \{2,6\}\(\(-[a-z], \)*--.*\)/\1/p' | sed 's/   *.*//' >"$work/forms"
    [ -s "$work/forms" ] || failed "otimes help $command: expected options"
    while read -r form; do
        grep -Fxq -e "$form" "$work/plain" || failed "$page: expected the option '$form'"
    done <"$work/forms"
    for section in NAME SYNOPSIS DESCRIPTION OPTIONS 'EXIT STATUS' EXAMPLES 'SEE ALSO'; do
        grep -Fxq ".SH $section" "$work/plain" || failed "$page: expected $section"
    done
    "$otimes" help "$command" | sed -n '/^Example:/{n;s/^  //p;}' >"$work/example"
    grep -Fxq -f "$work/example" "$work/plain" || failed "$page: expected the example"
done

# All that a schema page says: each sentence of its lists, each name of its tables.
python3 - "$root/tools/schema" "$pages" <<'END' || failed "pages do not say what the schema pages do"
import re
import sys
from pathlib import Path

SPECIAL = {"(rs": "\\", "(aq": "'", "(ga": "`", "(ha": "^", "(ti": "~", "(dq": '"', "-": "-", "&": "", ":": ""}
schemas, pages = map(Path, sys.argv[1:])
bad = checked = 0


def words(text):
    return " ".join(text.split())


for schema in sorted(schemas.glob("*.md")):
    page = pages / f"otimes-{schema.stem}.1"
    if not page.exists():
        continue
    roff = re.sub(r"\\f[BIR]", "", page.read_text(encoding="ascii"))
    roff = re.sub(r"\\\[u([0-9A-F]+)\]", lambda m: chr(int(m[1], 16)), roff)
    roff = re.sub(r"\\(\(..|[-&:])", lambda m: SPECIAL.get(m[1], m[0]), roff)
    lines, said = set(roff.split("\n")), words(roff)
    text = schema.read_text(encoding="utf-8")
    expected = [words(m[0])[2:] for m in re.finditer(r"^- .*(?:\n  .*)*", text, re.MULTILINE)]
    expected += [words(m[0]) for m in re.finditer(r"^[A-Z].*(?:\n\w.*)*", text, re.MULTILINE)]
    for sentence in expected:
        sentence = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", sentence).replace("`", "")
        checked += 1
        if sentence not in said:
            print(f"{page.name}: expected: {sentence}")
            bad += 1
    for name in re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE):
        checked += 1
        if name not in lines:
            print(f"{page.name}: expected a term {name}")
            bad += 1
sys.exit(bad > 0 or checked < 1000)
END

# Text stays text.
cat >"$work/hostile.json" <<'END'
{"version": "1\\n.so x\"", "about": "a", "exits": "0 success, 1 failure", "commands": [{"name": "x", "group": "\"G .PP",
 "summary": "a \\fB\\n(.$ `b` 'c' -- d", "about": ".so /etc/passwd \\*[x] \"q\" ~ ^ \u2297 \u0007 e", "operands": "MODEL",
 "operands_about": "'br", "example": ".ex 'y' \\e \"z\"", "exits": "0 success", "resumes": false,
 "sections": [{"heading": ".H \"h\"", "options": [{"name": "o", "form": "--o", "kind": "flag", "argument": null,
 "takes": "any", "help": ".hidden\n.so x of $SOME_NAME", "optional": false, "words": [], "default": null}]}]}]}
END
mkdir "$work/hostile" "$work/none"
python3 "$root/tools/shell/man.py" "$work/hostile.json" "$work/none" "$work/hostile" || failed "man.py on odd text"
if grep -n '^\.so\|^\.hidden\|^\.ex\|^.br$' "$work/hostile/otimes-x.1"; then
    failed "man.py: text became a request"
fi

if command -v mandoc >/dev/null; then
    for page in "$work"/dated/*.1 "$work"/hostile/*.1; do
        case $page in
        */dated/*) mandoc -T lint "$page" >"$work/lint" 2>&1 || : ;;
        *) mandoc -T lint -W warning "$page" 2>&1 | grep -v 'missing date' >"$work/lint" || : ;;
        esac
        [ ! -s "$work/lint" ] || failed "$(cat "$work/lint")"
    done
    mandoc -T utf8 "$work/hostile/otimes-x.1" | sed 's/.\x08//g' >"$work/read"
    for text in 'a \fB\n(.$ `b` '"'c'"' -- d' '.so /etc/passwd \*[x] "q" ~ ^ ⊗ � e' "'br" ".ex 'y' \\e \"z\"" '.hidden .so x of $SOME_NAME.' '       SOME_NAME'; do
        grep -Fq -e "$text" "$work/read" || failed "a page made of odd text: expected to read '$text'"
    done
else
    echo "skipped: mandoc is not installed"
fi
if command -v groff >/dev/null; then
    for page in "$work"/dated/*.1 "$work"/hostile/*.1; do
        for width in 60 80; do
            groff -man -Tutf8 -ww -z "-rLL=${width}n" "$page" >"$work/lint" 2>&1 && [ ! -s "$work/lint" ] ||
                failed "groff at $width columns: $(cat "$work/lint")"
        done
    done
else
    echo "skipped: groff is not installed"
fi
finish
