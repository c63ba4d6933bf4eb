# bash completion for the Slurm commands of slurmsky; made by: slurmsky completion bash
# Use it:  source <(slurmsky completion bash)

_slurmsky_words() { # text, words: those that go on from the text
    COMPREPLY=($(compgen -W "$2" -- "$1"))
}

_slurmsky_list() { # text, words: the same behind the last comma
    local before=${1%"${1##*,}"}
    COMPREPLY=($(compgen -P "$before" -W "$2" -- "${1##*,}"))
}

_slurmsky_jobs() { # past or nothing: also today's jobs that have ended; sacct omits held jobs
    { squeue -h -o %i --me; [[ ! $1 ]] || sacct -nXPo JobID; } 2>/dev/null | sed 's/_\[.*//' | sort -u
}

_slurmsky_value() { # text, kind
    case $2 in
    partitions) _slurmsky_list "$1" "$(sinfo -h -o %R 2>/dev/null)" ;;
    nodes) _slurmsky_list "$1" "$(sinfo -h -N -o %N 2>/dev/null | sort -u)" ;;
    jobs) _slurmsky_list "$1" "$(_slurmsky_jobs)" ;;
    past) _slurmsky_list "$1" "$(_slurmsky_jobs past)" ;;
    qos) _slurmsky_list "$1" "$(sacctmgr -nP show qos format=name 2>/dev/null)" ;;
    accounts) _slurmsky_list "$1" "$(sacctmgr -nP show account format=account 2>/dev/null)" ;;
    features) _slurmsky_words "$1" "$(sinfo -h -o %f 2>/dev/null | tr ',' ' ' | sed 's/(null)//')" ;;
    reservations)
        _slurmsky_list "$1" "$(scontrol -o show reservation 2>/dev/null |
            sed -n 's/^ReservationName=\([^ ]*\).*/\1/p')"
        ;;
    fields) _slurmsky_list "$1" "$($command "$3" 2>/dev/null)" ;;
    users) COMPREPLY=($(compgen -u -- "$1")) ;;
    files) COMPREPLY=($(compgen -f -- "$1")) && compopt -o filenames 2>/dev/null ;;
    folders) COMPREPLY=($(compgen -d -- "$1")) && compopt -o filenames 2>/dev/null ;;
    commands) COMPREPLY=($(compgen -c -- "$1")) ;;
    dependencies)
        if [[ $1 == *:* ]]; then
            COMPREPLY=($(compgen -W "$(_slurmsky_jobs)" -- "${1##*:}"))
        else
            _slurmsky_words "$1" "after: afterany: afterburstbuffer: aftercorr: afternotok: afterok: singleton"
            compopt -o nospace 2>/dev/null
        fi
        ;;
    =*) _slurmsky_list "$1" "${2#=}" ;;
    ' '*) _slurmsky_words "$1" "$2" ;;
    esac
}

_slurmsky() {
    local command=${1##*/} options= kinds= operand= verbs= behind= helps=--helpformat option kind part last=-1
    local -a words=()
    COMPREPLY=()
@CASES@
    # readline also breaks words at "=" and ":"; join them, and complete the value of name=value
    for part in "${COMP_WORDS[@]:0:COMP_CWORD + 1}"; do
        if ((last > 0)) && [[ $part == [=:]* || ($part && ${words[last]} == *[=:]) ]]; then
            words[last]+=$part
        else
            words[++last]=$part
        fi
    done
    local word=${words[last]} before=${words[last - 1]}
    [[ $word != *=* ]] || before=${word%%=*} word=${word#*=}
    for kind in $kinds; do
        option=${kind%%@*}
        if [[ $before == "$option" ]]; then
            kind=${kind#*@}
            _slurmsky_value "$word" "${kind//+/ }" "$helps"
            return
        fi
    done
    if [[ $word == -* && $options ]]; then
        _slurmsky_words "$word" "$options"
        [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null
        return
    fi
    [[ $command != slurmsky || $last -lt 2 ]] || before=${words[1]}
    for kind in $behind; do
        if [[ ${before,,} == "${kind%%@*}" && ($command != slurmsky || $word == -* || $kind != *@+-*) ]]; then
            kind=${kind#*@}
            _slurmsky_value "$word" "${kind//+/ }"
            return
        fi
    done
    if [[ $command == scontrol && ${words[1]} == update && $last -gt 2 ]]; then
        case ${words[2],,} in
@UPDATES@
        esac
        compopt -o nospace 2>/dev/null
        return
    fi
    if [[ $verbs && ( $last -eq 1 || ${words[last - 1]} == -* ) ]]; then
        _slurmsky_words "$word" "$verbs"
    else
        _slurmsky_value "$word" "$operand"
    fi
}

complete -o default -F _slurmsky @ALL@
