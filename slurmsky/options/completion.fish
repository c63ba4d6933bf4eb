# fish completion for the Slurm commands of slurmsky; made by: slurmsky completion fish
# Use it:  slurmsky completion fish | source    in ~/.config/fish/config.fish

function __slurmsky_list # words on stdin; those that go on behind the last comma
    set -l before (commandline -ct | string match -r '(?:.*[=,])' | string replace -r '^-[^=]*=' '')
    while read -l word
        echo "$before$word"
    end
end
# The same for words of any case. fish replaces all of --name=text by a word of another case: the typed letters stay.
function __slurmsky_list_of_any_case
    set -l typed (commandline -ct | string replace -r '.*[=,]' '')
    while read -l word
        string match -qi -- "$typed*" $word; or continue
        echo "$typed"(string sub -s (math (string length -- "$typed") + 1) -- $word)
    end | __slurmsky_list
end
function __slurmsky_partitions; sinfo -h -o %R 2>/dev/null | __slurmsky_list; end
function __slurmsky_nodes; sinfo -h -N -o %N 2>/dev/null | sort -u | __slurmsky_list; end
function __slurmsky_jobs; squeue -h -o %i --me 2>/dev/null | string replace -r '_\\[.*' '' | __slurmsky_list; end
function __slurmsky_past; __slurmsky_jobs; sacct -nXPo JobID 2>/dev/null | string replace -r '_\\[.*' '' | __slurmsky_list; end
function __slurmsky_qos; sacctmgr -nP show qos format=name 2>/dev/null | __slurmsky_list; end
function __slurmsky_accounts; sacctmgr -nP show account format=account 2>/dev/null | __slurmsky_list; end
function __slurmsky_features; sinfo -h -o %f 2>/dev/null | string split , | string match -v '(null)'; end
function __slurmsky_reservations
    scontrol -o show reservation 2>/dev/null | string replace -rf '^ReservationName=(\\S+).*' '$1' | __slurmsky_list
end
function __slurmsky_fields; $argv 2>/dev/null | string split -n ' ' | __slurmsky_list_of_any_case; end
function __slurmsky_users; __fish_complete_users | string replace -r '\t.*' '' | __slurmsky_list; end
function __slurmsky_files; __fish_complete_path (commandline -ct | string replace -r '^-[^=]*=' ''); end
function __slurmsky_folders; __fish_complete_directories (commandline -ct | string replace -r '^-[^=]*=' ''); end
function __slurmsky_commands; __fish_complete_subcommand; end
function __slurmsky_dependencies
    set -l word (commandline -ct | string replace -r '^-[^=]*=' '')
    if string match -q '*:*' -- $word
        squeue -h -o %A --me 2>/dev/null | string replace -r '^' (string replace -r '[^:]*$' '' -- $word)
    else
        printf '%s\n' after: afterany: afterburstbuffer: aftercorr: afternotok: afterok: singleton
    end
end
function __slurmsky_words; printf '%s\n' $argv | __slurmsky_list_of_any_case; end
function __slurmsky_first; test (count (commandline -opc)) -eq 1; end
function __slurmsky_behind # the word before, or the name of name=value
    set -l words (commandline -opc) (string replace -rf '=.*' '' -- (commandline -ct))
    contains -- (string lower -- $words[-1]) $argv
end
function __slurmsky_under; set -l words (commandline -opc); set -q words[2]; and contains -- $words[2] $argv; end
function __slurmsky_updates; set -l words (commandline -opc)
    test (count $words) -ge 3; and test $words[2] = update; and string match -qi -- $argv[1] $words[3]
end
