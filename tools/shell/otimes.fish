# SPDX-License-Identifier: MIT
#
# Completion of otimes in fish. The program itself says what may stand where: otimes --complete, see
# tools/complete.h. Variables in front of a word are expanded and nothing else is: nothing on the line is run.

function __otimes_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct | string unescape; or commandline -ct)
    set -l place (count $words)
    set words (string replace -r '^~(?=/|$)' $HOME -- $words $current)
    for i in (seq $place)
        set -l name (string match -r '^\$(\w+)(.*)' -- $words[$i])
        and set -q $name[2]
        and set words[$i] $$name[2]$name[3]
    end
    for line in (command $words[1] --complete $place $words 2>/dev/null)
        if string match -q \tfiles\t\* -- $line
            set -l said (string split \t -- $line)
            __otimes_files $current $said[3] (string split -n ' ' -- $said[4])
        else if not string match -q \t\* -- $line
            echo $line
        end
    end
end

# Files that begin as the word does behind its first bytes, those that end in one of the suffixes, and folders.
function __otimes_files -a word bytes
    set -l suffixes $argv[3..-1]
    set -l before (string sub -l $bytes -- $word)
    set -l begin (string sub -s (math $bytes + 1) -- $word)
    set -l path (string replace -r '^~(?=/|$)' $HOME -- $begin)
    for file in $path*
        set -l shown $before(string replace -- $path $begin $file)
        if test -d $file
            echo $shown/
        else if not set -q suffixes[1]
            echo $shown
        else
            for suffix in $suffixes
                string match -q -- "*$suffix" $file; and echo $shown; and break
            end
        end
    end
end

complete -c otimes -f -a '(__otimes_complete)'
