# Completes process-orchestrator in bash. The program itself knows the candidates; see `help completions`.
_process_orchestrator() {
    local kind value about program=${1/#\~\//$HOME/}
    COMPREPLY=()
    {
        IFS= read -r kind
        while IFS=$'\t' read -r value about; do
            # What stands in quotes is taken as it is, the rest is quoted where it has to be.
            if [[ ${COMP_WORDS[COMP_CWORD]} != [\'\"]* && $value == *[^[:alnum:]_./:=@,+-]* ]]; then
                printf -v value %q "$value"
            fi
            COMPREPLY+=("$value")
        done
    } < <("$program" complete bash "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    case $kind in
        parts) compopt -o nospace 2>/dev/null ;;
        files) compopt -o default 2>/dev/null || COMPREPLY=($(compgen -f -- "$2")) ;;
        directories) compopt -o dirnames 2>/dev/null || COMPREPLY=($(compgen -d -- "$2")) ;;
    esac
}
complete -F _process_orchestrator process-orchestrator
