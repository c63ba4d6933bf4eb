# `module`, `ml` and `ibrun` for jobs on nodes without them: bash functions, exported in the environment.
# Where a node has Environment Modules or Lmod, these functions load it instead.
#
# SLURMSKY_MODULES: known names, one per line: NAME|replacement|VARIABLE=VALUE|...
# PATH+=FOLDER in place of a variable: what a task's setup installed for this module, on SkyPilot's nodes only.
# VARIABLE?=PATTERNS: the first path that one of the patterns finds; the variable is not set where there is none.
# SLURMSKY_UNKNOWN_MODULES: "error" makes a load of an unknown name fail; otherwise it warns once and continues.

module() {
    local init
    for init in "${MODULESHOME:-/-}/init/bash" "${LMOD_PKG:-/-}/init/bash" /usr/share/lmod/lmod/init/bash \
        /usr/share/modules/init/bash /usr/local/Modules/init/bash; do
        if [ -r "$init" ]; then
            case $- in *u*) set +u; unset -f module ml; . "$init"; set -u ;; *) unset -f module ml; . "$init" ;; esac
            module "$@"
            return
        fi
    done
    local verb name kept row found low bare code=0
    while [ $# -gt 0 ]; do case $1 in -*) shift ;; *) break ;; esac; done
    verb=${1:-help}
    [ $# -gt 0 ] && shift
    while [ $# -gt 0 ]; do case $1 in -*) shift ;; *) break ;; esac; done
    case $verb in
        load | add | try-load | try-add | load-any)
            for name in "$@"; do
                found=
                while IFS= read -r row; do
                    case ${row%%|*} in
                        "$name") found=$row; break ;;
                        *\**) case $name in ${row%%|*}) found=$row; break ;; esac ;;
                        *) low=${row%%|*} bare=${name%%/*}; [ "${low,,}" = "${bare,,}" ] && found=${found:-$row} ;;
                    esac
                done <<< "${SLURMSKY_MODULES:-}"
                if [ -z "$found" ]; then
                    case $verb in try-*) continue ;; esac
                    [ "${SLURMSKY_UNKNOWN_MODULES:-}" = error ] && code=1
                    case ":${SLURMSKY_MODULES_TOLD:-}:" in *":$name:"*) continue ;; esac
                    export SLURMSKY_MODULES_TOLD="${SLURMSKY_MODULES_TOLD:-}:$name"
                    echo "slurmsky: module $name is not known here: nothing was loaded ([modules] of the site file can say what it is)" >&2
                    continue
                fi
                module unload "${name%%/*}"
                export LOADEDMODULES="${LOADEDMODULES:+$LOADEDMODULES:}$name"
                kept=${found#*|}
                while [ "$kept" != "${kept#*|}" ]; do
                    kept=${kept#*|}
                    row=${kept%%|*}
                    case $row in
                        PATH+=*)
                            row=${row#PATH+=}
                            row=${row/#\~/$HOME}
                            [ -n "${SKYPILOT_NODE_RANK:-}" ] && [ -d "$row" ] && export PATH="$row:$PATH"
                            ;;
                        *\?=*)
                            low=${row#*\?=}
                            for bare in ${low//\~/$HOME}; do
                                [ -e "$bare" ] && export "${row%%\?=*}=$bare" && break
                            done
                            ;;
                        ?*) export "$row" ;;
                    esac
                done
            done
            ;;
        unload | rm | del | remove)
            for name in "$@"; do
                kept=
                while IFS= read -r -d : row; do
                    [ -z "$row" ] || [ "$row" = "$name" ] || [ "${row%%/*}" = "$name" ] || kept="${kept:+$kept:}$row"
                done <<< "${LOADEDMODULES:-}:"
                export LOADEDMODULES=$kept
            done
            ;;
        swap | switch | sw)
            [ $# -gt 1 ] && { module unload "$1"; shift; }
            module load "$@" || code=$?
            ;;
        purge | reset | restore | r) export LOADEDMODULES= ;;
        list | li)
            if [ -z "${LOADEDMODULES:-}" ]; then
                echo "No modules loaded" >&2
            else
                echo "Currently Loaded Modules:" >&2
                echo "  ${LOADEDMODULES//:/$'\n'  }" >&2
            fi
            ;;
        avail | av | spider | keyword | key | search | apropos)
            set -- "${1:-}"
            while IFS= read -r row; do
                row=${row%%|*}
                [ -n "$row" ] && [[ ${row,,} == *"${1,,}"* ]] && echo "$row" >&2
            done <<< "${SLURMSKY_MODULES:-}"
            ;;
        show | display | whatis | wh | help)
            [ $# -gt 0 ] || echo "module: load unload swap purge list avail show use; this is slurmsky's, the node has no module system" >&2
            for name in "$@"; do
                while IFS= read -r row; do
                    [ "${row%%|*}" = "$name" ] || [ "${row%%|*}" = "${name%%/*}" ] || continue
                    found=${row#*|}
                    echo "$name: ${found%%|*}" >&2
                    break
                done <<< "${SLURMSKY_MODULES:-}"
            done
            ;;
        use | prepend-path) for name in "$@"; do export MODULEPATH="$name${MODULEPATH:+:$MODULEPATH}"; done ;;
        unuse | save | savelist | refresh | update | reload | initadd | initclear) ;;
        is-loaded | isloaded)
            code=1
            for name in "$@"; do
                case ":${LOADEDMODULES:-}:" in *":$name:"* | *":$name/"*) code=0 ;; esac
            done
            ;;
        *)
            echo "module: unknown command $verb" >&2
            code=1
            ;;
    esac
    return $code
}

ml() {
    local word
    case ${1:-list} in
        load | add | unload | rm | del | purge | reset | list | use | unuse | avail | av | swap | sw | switch | show | restore | spider | whatis | is-loaded | save | help)
            module "${@:-list}"
            ;;
        *)
            for word in "$@"; do
                case $word in
                    --*) ;;
                    -*) module unload "${word#-}" || return ;;
                    *) module load "$word" || return ;;
                esac
            done
            ;;
    esac
}

# TACC's launcher of MPI programs. -o places a part of the tasks, which srun does for steps of exact size.
ibrun() {
    local options=()
    while [ $# -gt 0 ]; do
        case $1 in
            -n | -np) options+=(--exact -n "$2"); shift 2 ;;
            -o) shift 2 ;;
            tacc_affinity | task_affinity | mem_affinity) shift ;;
            *) break ;;
        esac
    done
    srun "${options[@]}" "$@"
}
