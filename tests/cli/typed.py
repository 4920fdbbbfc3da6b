# SPDX-License-Identifier: MIT
"""Types lines into an interactive shell at a terminal of its own and prints what they have become.

usage: typed.py bash|zsh FOLDER [COMMAND ...] < LINES

The shell works in FOLDER, after it ran the COMMANDs. In a line <TAB> completes, <ALL> puts all candidates in
the place of the word, <LEFT> goes one character to the left.
"""

from __future__ import annotations

import os
import pty
import re
import sys

KEYS = {"<TAB>": "\t", "<ALL>": "\x1b*", "<LEFT>": "\x02"}
SHOW = "\x18\x10"
SETUP = {
    "bash": [
        "set +o history; bind 'set enable-bracketed-paste off'; bind 'set bell-style none'; stty cols 1000",
        r"show() { printf '<<<%s>>>\n' "
        r'"$READLINE_LINE"; READLINE_LINE= READLINE_POINT=0; }',
        r"""bind -x '"\C-x\C-p": show'""",
    ],
    "zsh": [
        "stty cols 1000; PROMPT='$ ' RPROMPT= LISTMAX=0; unset zle_bracketed_paste; setopt noautomenu nobeep",
        "autoload -U compinit; compinit -u -D; bindkey -e",
        "zle -C all complete-word _generic; bindkey '\\e*' all",
        "zstyle ':completion:all:*' completer _all_matches _complete; zstyle ':completion:all:*' insert true",
        'show() { print -r -- "<<<$BUFFER>>>"; BUFFER= }; zle -N show; bindkey "^X^P" show',
    ],
}
START = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}


def read(terminal: int, pattern: bytes) -> bytes:
    """What the shell prints until it matches."""
    data = b""
    while not (found := re.search(pattern, data, re.DOTALL)):
        try:
            data += os.read(terminal, 65536)
        except OSError as error:
            raise SystemExit(f"typed.py: the shell ended: {data!r}") from error
    return found.group(found.lastindex or 0)


def main() -> None:
    shell, folder, *commands = sys.argv[1:]
    lines = sys.stdin.read().splitlines()
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        plain = {"TERM": "dumb", "PS1": "$ ", "INPUTRC": "/dev/null", "LC_ALL": "C.UTF-8", "ZDOTDIR": folder}
        os.execvpe(START[shell][0], START[shell], {**os.environ, **plain})
    for command in [*commands, *SETUP[shell], "echo rea''dy"]:
        os.write(terminal, command.encode() + b"\n")
    read(terminal, rb"ready\r?\n")
    for text in lines:
        for name, key in KEYS.items():
            text = text.replace(name, key)
        os.write(terminal, text.encode() + SHOW.encode())
        print(read(terminal, rb"<<<(.*?)>>>").decode())
    os.write(terminal, b"exit\n")
    os.close(terminal)
    os.waitpid(child, 0)


main()
