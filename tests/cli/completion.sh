# SPDX-License-Identifier: MIT
#
# Completion in bash, zsh and fish: lines are typed into the shells themselves.
. "$(dirname "$0")/lib.sh"

model=$root/notebooks-data/induction-2l # two layers of four heads
[ -f "$model/model.safetensors" ] || exit 77
PATH=$(dirname "$otimes"):$PATH
M=$work/there/model
HOME=$work/there
# A shell that is closed kills what it runs: a leak check that this interrupts would wait for ever. complete.sh has them.
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export PATH M HOME ASAN_OPTIONS

mkdir -p "$work/there/my dir/sub" "$work/zsh"
cp "$root/tools/shell/otimes.zsh" "$work/zsh/_otimes"
cd "$work/there" || exit 1
ln -s "$model" model
ln -s "$model" "my dir/model x"
touch a.h5 b.h5 'c d.h5' "it's.h5" 'dollar$x.h5' 'eq=col:on.h5' w.safetensors notes.txt

have() {
    command -v "$1" >/dev/null || {
        echo "skipped: $1 is not installed"
        return 1
    }
}

# What was typed, then what it becomes. An empty second one: the same.
begin() {
    : >"$work/typed"
    : >"$work/expected"
}
typed() {
    printf '%s\n' "$1" >>"$work/typed"
    printf '%s\n' "$2" >>"$work/expected"
}
# title, shell, commands before
compare() {
    title=$1
    shift
    shell=$1
    shift
    python3 "$root/tests/cli/typed.py" "$shell" "$work/there" "$@" <"$work/typed" >"$work/became" ||
        failed "$title: typed.py"
    sed 's/ *$//' "$work/became" | paste -d '\n' "$work/typed" "$work/expected" - | awk -v title="$title" '
        NR % 3 == 1 { line = $0 }
        NR % 3 == 2 { expected = $0 }
        NR % 3 == 0 && $0 != expected { print title ": " line ": expected \"" expected "\", got \"" $0 "\""; bad = 1 }
        END { exit bad }' || failed "$title"
}

# What all shells do alike.
alike() {
    begin
    typed 'otimes di<TAB>' 'otimes diff'
    typed 'otimes help co<ALL>' 'otimes help compare compose convert'
    typed 'otimes bigram model --form<TAB>' 'otimes bigram model --format'
    typed 'otimes bigram model --fo<ALL>' 'otimes bigram model --format --fold-ln --fold-value-biases'
    typed 'otimes bigram model --fold-ln --fo<ALL>' 'otimes bigram model --fold-ln --format --fold-value-biases'
    typed 'otimes compare model --measures <ALL>' 'otimes compare model --measures cosine cka procrustes kernel angles'
    typed 'otimes compare model --measures cka,k<TAB>' 'otimes compare model --measures cka,kernel'
    typed 'otimes heads model --top <TAB>' 'otimes heads model --top'
    # Heads and layers, whatever the name of the model looks like.
    typed 'otimes circuit model --head <ALL>' 'otimes circuit model --head 0. 1.'
    typed 'otimes circuit model --head 1.<ALL>' 'otimes circuit model --head 1.0 1.1 1.2 1.3'
    typed 'otimes circuit model --head=1<TAB>' 'otimes circuit model --head=1.'
    typed 'otimes circuit model --head 1<TAB>2<TAB>,0<TAB>' 'otimes circuit model --head 1.2,0.'
    typed 'otimes circuit model --which k<TAB>0<TAB>' 'otimes circuit model --which kcomp:0.'
    typed 'otimes circuit my\ dir/model\ x --head 0.<ALL>' 'otimes circuit my\ dir/model\ x --head 0.0 0.1 0.2 0.3'
    typed "otimes circuit 'my dir/model x' --head 1.<ALL>" "otimes circuit 'my dir/model x' --head 1.0 1.1 1.2 1.3"
    typed 'otimes circuit "my dir/model x" --head 1.<ALL>' 'otimes circuit "my dir/model x" --head 1.0 1.1 1.2 1.3'
    typed 'otimes circuit $M --head 1.<ALL>' 'otimes circuit $M --head 1.0 1.1 1.2 1.3'
    typed 'otimes circuit ~/model --head 1.<ALL>' 'otimes circuit ~/model --head 1.0 1.1 1.2 1.3'
    typed 'otimes circuit --head 0.2, model<LEFT><LEFT><LEFT><LEFT><LEFT><LEFT>1.<TAB>' \
        'otimes circuit --head 0.2,1. model'
    typed 'X=1 otimes heads model --layers <ALL>' 'X=1 otimes heads model --layers 0 1'
    typed 'true; otimes heads model --layers <ALL>' 'true; otimes heads model --layers 0 1'
    typed 'otimes heads 2>/dev/null model --layers <ALL>' 'otimes heads 2>/dev/null model --layers 0 1'
    # Files of the kind that is taken, and folders.
    typed 'otimes info w<TAB>' 'otimes info w.safetensors'
    typed 'otimes heads model -o n<TAB>' 'otimes heads model -o notes.txt'
    typed 'otimes heads model -oa<TAB>' 'otimes heads model -oa.h5'
    typed 'otimes heads model --config=model/con<TAB>' 'otimes heads model --config=model/config.json'
    typed 'otimes heads model > n<TAB>' 'otimes heads model > notes.txt'
    typed 'otimes info my<TAB>s<TAB>' 'otimes info my\ dir/sub/'
    typed 'otimes heads model -omy<TAB>' 'otimes heads model -omy\ dir/'
    typed "otimes diff it<TAB>" "otimes diff it\\'s.h5"
    typed 'otimes diff do<TAB>' 'otimes diff dollar\$x.h5'
    # Nothing on the line is run, and nothing that is said of it is an error.
    typed 'otimes heads $(touch ran) `touch ran` --layers <TAB>' 'otimes heads $(touch ran) `touch ran` --layers'
    typed 'otimes circuit ${M:=$(touch ran)} "$(touch ran)" <(touch ran) --head <TAB>' \
        'otimes circuit ${M:=$(touch ran)} "$(touch ran)" <(touch ran) --head'
    typed 'otimes circuit no-such-model --head <TAB>' 'otimes circuit no-such-model --head'
    typed 'otimes no-such-command <TAB>' 'otimes no-such-command'
}

if have bash; then
    alike
    typed 'otimes circuit model --head=1.0,1.<ALL>' 'otimes circuit model --head=1.0,1.1 1.0,1.2 1.0,1.3'
    typed 'otimes circuit model --which=kcomp:0.<ALL>' 'otimes circuit model --which=kcomp:0.0 0.1 0.2 0.3'
    typed 'otimes bigram model --full=<ALL>' 'otimes bigram model --full=float32 float16'
    typed 'otimes diff eq<TAB>' 'otimes diff eq\=col\:on.h5'
    typed 'otimes diff n<TAB>' 'otimes diff n'
    typed "otimes info 'my dir/s<TAB>" "otimes info 'my dir/sub'/"
    typed 'otimes diff <ALL>' \
        "otimes diff a.h5 b.h5 c\\ d.h5 dollar\\\$x.h5 eq\\=col\\:on.h5 it\\'s.h5 model my\\ dir"
    compare bash bash "source '$root/tools/shell/otimes.bash'"
    typed 'otimes circuit model $no_such --head 1<TAB>' 'otimes circuit model $no_such --head 1.'
    compare 'bash with failglob and nounset' bash "source '$root/tools/shell/otimes.bash'" 'shopt -s failglob; set -u'
    alike
    typed 'otimes circuit model --head=1.0,1.<ALL>' \
        'otimes circuit model --head=1.0,1.1 --head=1.0,1.2 --head=1.0,1.3'
    compare 'bash without = and : as breaks' bash "source '$root/tools/shell/otimes.bash'" \
        'COMP_WORDBREAKS=${COMP_WORDBREAKS//[=:]}'
    for file in /usr/share/bash-completion/bash_completion /etc/bash_completion; do
        if [ -r "$file" ]; then
            alike
            compare "bash with $file" bash "source $file" "source '$root/tools/shell/otimes.bash'"
            break
        fi
    done
fi

if have zsh; then
    alike
    typed 'otimes circuit model --head=1.0,1.<ALL>' \
        'otimes circuit model --head=1.0,1.1 --head=1.0,1.2 --head=1.0,1.3'
    typed 'otimes diff eq<TAB>' 'otimes diff eq=col:on.h5'
    typed 'otimes info mod<TAB>' 'otimes info model/'
    typed "otimes info 'my<TAB>s<TAB>" "otimes info 'my dir/sub/"
    compare zsh zsh "fpath=('$work/zsh' \$fpath)"
fi

# line, candidates
fish_says() {
    fish -N -c 'source $argv[1]; complete -C $argv[2]' "$root/tools/shell/otimes.fish" "$1" 2>&1 |
        sed 's/\t.*//' | LC_ALL=C sort | tr '\n' '|' >"$work/out"
    [ "$(cat "$work/out")" = "$2" ] || failed "fish: $1: expected $2, got $(cat "$work/out")"
}
if have fish; then
    fish_says 'otimes di' 'diff|'
    fish_says 'otimes help co' 'compare|compose|convert|'
    fish_says 'otimes circuit model --head ' '0.|1.|'
    fish_says 'otimes circuit model --head=1.0,1.' '--head=1.0,1.1|--head=1.0,1.2|--head=1.0,1.3|'
    fish_says "otimes circuit 'my dir/model x' --head 1." '1.0|1.1|1.2|1.3|'
    fish_says 'otimes circuit ~/model --head 1.' '1.0|1.1|1.2|1.3|'
    fish_says 'otimes circuit $M --head 1.' '1.0|1.1|1.2|1.3|'
    fish_says 'otimes info ' 'model/|my dir/|w.safetensors|'
    fish_says 'otimes info my\ dir/' 'my dir/model x/|my dir/sub/|'
    fish_says 'otimes info ~/w' '~/w.safetensors|'
    fish_says 'otimes heads model --config=model/con' '--config=model/config.json|'
    fish_says 'otimes diff do' 'dollar$x.h5|'
    fish_says 'otimes heads (touch ran) --layers ' ''
fi
expect_absent ran
finish
