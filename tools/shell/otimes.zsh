#compdef otimes
# SPDX-License-Identifier: MIT
#
# Completion of otimes in zsh. The program itself says what may stand where: otimes --complete, see
# tools/complete.h.

_otimes() {
    local word reply name begin entry program=${(Q)words[1]} list=
    local -a plain match mbegin mend suffixes whole open

    # Words without quotes. Variables in front are expanded and nothing else is: nothing on the line is run.
    for word in "${(@)words[1,CURRENT-1]}" "$PREFIX" "${(@)words[CURRENT+1,-1]}"; do
        word=${(Q)word}
        if [[ $word == \~(|/*) ]]; then
            word=$HOME${word#\~}
        elif [[ $word == \$(|\{)(#b)([A-Za-z_][A-Za-z_0-9]#)(|\})(*) ]]; then
            word=${(P)match[1]}$match[3]
        fi
        plain+=("$word")
    done
    (( $+commands[$program] )) || [[ -x $program ]] || program=otimes

    reply=$("$program" --complete $((CURRENT - 1)) "${(@)plain}" 2>/dev/null)
    if [[ $reply == $'\tfiles\t'* ]]; then
        suffixes=(${=reply##*$'\t'})
        compset -p ${${reply#$'\tfiles\t'}%%$'\t'*}
        _files ${suffixes:+-g} ${suffixes:+"*(${(j:|:)suffixes})(-.)"}
        return
    fi
    if [[ $reply == $'\tlist'* ]]; then
        list=1
        reply=${reply#$'\tlist'}
    fi

    # What stands before the last = or , stays as it is.
    [[ $PREFIX == --*=* ]] && compset -P '*='
    [[ -n $list ]] && compset -P '*,'
    begin=${(Q)IPREFIX}
    for reply in "${(@f)reply}"; do
        name=${reply%%$'\t'*}
        [[ -n $name ]] || continue
        entry=${${name[$#begin + 1,-1]}//:/\\:}${${reply#$name}/$'\t'/:}
        if [[ -n $list || $name == *[.:=] ]]; then
            open+=("$entry")
        else
            whole+=("$entry")
        fi
    done
    _describe -V otimes whole -- open -S ''
}

_otimes "$@"
