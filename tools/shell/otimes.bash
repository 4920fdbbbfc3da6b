# SPDX-License-Identifier: MIT
#
# Completion of otimes in bash 4 and later. The program itself says what may stand where:
# otimes --complete, see tools/complete.h.

# The words of a line as the shell would make them, without their quotes, into `words`. Variables are
# expanded and nothing else is: nothing on the line is run. A line that ends between two words ends in an
# empty one. `redirected` says that the last is a file of the shell's, behind < or >; others are left out.
_otimes_split() {
    local line=$1 word='' quote='' began='' skip='' c name
    words=()
    line+=$' '
    while [[ $line ]]; do
        c=${line:0:1} line=${line:1}
        if [[ ! $line ]]; then # the blank that was put there
            words+=("$word") redirected=$skip
        elif [[ $c == \$ && $quote != \' && $line =~ ^\{?([A-Za-z_][A-Za-z_0-9]*)\}? ]]; then
            name=${BASH_REMATCH[1]}
            word+=${!name-} began=1 line=${line:${#BASH_REMATCH}}
        elif [[ $quote ]]; then
            if [[ $c == "$quote" ]]; then
                quote=''
            elif [[ $quote$c == '"\' && ${line:0:1} == [\$\`\"\\] ]]; then
                word+=${line:0:1} line=${line:1}
            else
                word+=$c
            fi
        elif [[ $c == [\'\"] ]]; then
            quote=$c began=1
        elif [[ $c == \\ ]]; then
            word+=${line:0:1} line=${line:1} began=1
            [[ $line ]] || words+=("${word% }") redirected=$skip # it quoted the blank that was put there
        elif [[ $c == [[:blank:]] ]]; then
            [[ $began && ! $skip ]] && words+=("$word")
            [[ $began ]] && skip=''
            word='' began=''
        elif [[ $c == [\<\>] ]]; then
            [[ $began && $word != *[!0-9]* ]] || { [[ $began && ! $skip ]] && words+=("$word"); }
            word='' began='' skip=1
        elif [[ $c == \~ && ! $began && $line == [/\ ]* ]]; then
            word=$HOME began=1
        else
            word+=$c began=1
        fi
    done
}

# Files that begin as the word does behind its first $1 characters, those that end in one of the suffixes $2,
# and folders.
_otimes_files() {
    local before=${current:0:$1} begin=${current:$1} file suffix failglob=''
    [[ :$BASHOPTS: == *:failglob:* ]] && failglob=1 && shopt -u failglob
    for file in "$begin"*; do
        if [[ -d $file ]]; then
            [[ $before ]] && file+=/
            COMPREPLY+=("$before$file")
        elif [[ -e $file && ! $2 ]]; then
            COMPREPLY+=("$before$file")
        elif [[ -e $file ]]; then
            for suffix in $2; do
                [[ $file == *"$suffix" ]] && COMPREPLY+=("$before$file") && break
            done
        fi
    done
    [[ $failglob ]] && shopt -s failglob
    compopt -o filenames 2>/dev/null
}

_otimes() {
    local line=${COMP_LINE:0:COMP_POINT} piece=${COMP_WORDS[COMP_CWORD]} reply list='' i
    local -a words before
    local IFS=$' \t\n' current place program redirected

    # Readline completes the last piece of the word alone, behind a = or : perhaps.
    while [[ $line != *"$piece" ]]; do
        piece=${piece%?}
    done
    [[ $piece == *[!=:]* ]] || piece=''
    _otimes_split "$piece"
    local raw=$piece
    piece=${words[0]}

    _otimes_split "$line"
    place=$((${#words[@]} - 1)) current=${words[-1]} program=${words[0]}
    before=("${words[@]}")
    if [[ $redirected ]]; then
        COMPREPLY=()
        _otimes_files 0 ''
        return
    fi
    _otimes_split "${COMP_LINE:COMP_POINT}"
    [[ ${COMP_LINE:COMP_POINT} == [[:blank:]]* ]] || words=("${words[@]:1}")
    type -P -- "$program" >/dev/null || program=otimes

    COMPREPLY=()
    while IFS= read -r reply; do
        case $reply in
        $'\tfiles\t'*)
            reply=${reply#$'\tfiles\t'}
            _otimes_files "${reply%%$'\t'*}" "${reply#*$'\t'}"
            ;;
        $'\tlist') list=1 ;;
        *) COMPREPLY+=("${reply%%$'\t'*}") ;;
        esac
    done < <("$program" --complete "$place" "${before[@]}" "${words[@]}" 2>/dev/null)

    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"${current%"$piece"}"}
        [[ $raw == \~/* ]] && COMPREPLY[i]=\~${COMPREPLY[i]#"$HOME"}
    done
    [[ $list || ${COMPREPLY[0]-} == *[.:=/] ]] && compopt -o nospace 2>/dev/null
    compopt -o nosort 2>/dev/null
}

complete -F _otimes otimes
