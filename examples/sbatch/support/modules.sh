# `module` and `ml`, as Environment Modules and Lmod define them: functions that change the shell's environment.
# bash reads this file through BASH_ENV when it runs a script. Load means: remember the name.
module() {
    local verb=${1:-} name kept
    [ $# -gt 0 ] && shift
    case $verb in
        load | add | try-load)
            for name in "$@"; do
                case ":${LOADEDMODULES:-}:" in
                    *":$name:"*) ;;
                    *) LOADEDMODULES=${LOADEDMODULES:+$LOADEDMODULES:}$name ;;
                esac
            done
            ;;
        unload | rm | del)
            for name in "$@"; do
                kept=:${LOADEDMODULES:-}:
                kept=${kept//:$name:/:}
                kept=${kept#:}
                LOADEDMODULES=${kept%:}
            done
            ;;
        purge | reset | restore) LOADEDMODULES= ;;
        swap | switch) module unload "$1" && module load "$2" ;;
        list)
            echo "Currently Loaded Modules:" >&2
            (IFS=: && for name in ${LOADEDMODULES:-}; do echo "  $name"; done) >&2
            ;;
        use | unuse | avail | av | spider | help | show | display | whatis | "") ;;
        *)
            echo "module: unknown command $verb" >&2
            return 1
            ;;
    esac
    export LOADEDMODULES
}

ml() {
    case ${1:-list} in
        load | add | unload | rm | del | purge | reset | list | use | avail | av | swap | switch | show | restore) module "$@" ;;
        *) module load "$@" ;;
    esac
}
