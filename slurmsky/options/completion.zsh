#compdef @ALL@
# zsh completion for the Slurm commands of slurmsky; made by: slurmsky completion zsh
# Use it:  eval "$(slurmsky completion zsh)"    behind compinit in ~/.zshrc

_slurmsky_value() { # kind
    local -a found any_case=(-M 'm:{a-zA-Z}={A-Za-z}')
    case $1 in
    partitions) found=(${(f)"$(sinfo -h -o %R 2>/dev/null)"}); _sequence compadd - $found ;;
    nodes) found=(${(fu)"$(sinfo -h -N -o %N 2>/dev/null)"}); _sequence compadd - $found ;;
    past) found=(${(u)${(f)"$(squeue -h -o %i --me 2>/dev/null; sacct -nXPo JobID 2>/dev/null)"}%%_\[*}); _sequence compadd - $found ;;
    jobs) found=(${${(f)"$(squeue -h -o %i --me 2>/dev/null)"}%%_\[*}); _sequence compadd - $found ;;
    qos) found=(${(f)"$(sacctmgr -nP show qos format=name 2>/dev/null)"}); _sequence compadd - $found ;;
    accounts) found=(${(f)"$(sacctmgr -nP show account format=account 2>/dev/null)"}); _sequence compadd - $found ;;
    features) found=(${(s:,:)${(f)"$(sinfo -h -o %f 2>/dev/null)"}:#\(null\)}); compadd - $found ;;
    reservations)
        found=(${(f)"$(scontrol -o show reservation 2>/dev/null |
            sed -n 's/^ReservationName=\([^ ]*\).*/\1/p')"})
        _sequence compadd - $found
        ;;
    fields) found=(${=$("$command" $helps 2>/dev/null)}); _sequence compadd $any_case - $found ;;
    users) _users ;;
    files) _files ;;
    folders) _files -/ ;;
    commands) _command_names -e || _files ;;
    dependencies)
        if [[ $PREFIX == *:* ]]; then
            compset -P '*:'
            found=(${(f)"$(squeue -h -o %A --me 2>/dev/null)"})
            compadd - $found
        else
            compadd -S '' - after: afterany: afterburstbuffer: aftercorr: afternotok: afterok: singleton
        fi
        ;;
    +*) found=(${(s:+:)1}); compadd - $found ;;
    \=*) found=(${(s:+:)${1#=}}); _sequence compadd $any_case - $found ;;
    esac
}

_slurmsky() {
    local command=${words[1]:t} before=${words[CURRENT-1]} operand= helps=--helpformat entry
    local -a options kinds verbs behind
@CASES@
    if [[ $PREFIX == *=* ]]; then
        before=${PREFIX%%=*}
        compset -P '*='
    fi
    for entry in $kinds; do
        if [[ ${entry%%@*} == $before ]]; then
            _slurmsky_value ${entry#*@}
            return
        fi
    done
    if [[ $PREFIX == -* && -n $options ]]; then
        compadd -S '' - ${(M)options:#*=}
        compadd - ${options:#*=}
        return
    fi
    [[ $command != slurmsky || $CURRENT -lt 3 ]] || before=${words[2]}
    for entry in $behind; do
        if [[ ${entry%%@*} == ${(L)before} && ( $command != slurmsky || $PREFIX == -* || $entry != *@+-* ) ]]; then
            _slurmsky_value ${entry#*@}
            return
        fi
    done
    if [[ $command == scontrol && ${words[2]} == update && CURRENT -gt 3 ]]; then
        case ${(L)words[3]} in
@UPDATES@
        esac
        return
    fi
    if [[ -n $verbs && ( CURRENT -eq 2 || $before == -* ) ]]; then
        compadd - $verbs
    elif [[ -n $operand ]]; then
        _slurmsky_value $operand
    fi
}

compdef _slurmsky @ALL@
