#compdef process-orchestrator
# Completes process-orchestrator in zsh. The program itself knows the candidates; see `help completions`.
_process-orchestrator() {
    local line kind program=${~${(Q)words[1]}}
    local -a lines values shown
    lines=("${(@f)$("$program" complete zsh "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
    kind=$lines[1]
    case $kind in
        files | directories)
            [[ $PREFIX == --*=* ]] && compset -P '*='
            if [[ $kind == files ]]; then _files; else _files -/; fi
            ;;
        words | parts)
            for line in "${(@)lines[2,-1]}"; do
                values+=("${line%%$'\t'*}")
                shown+=("${line%%$'\t'*}${${line#*$'\t'}:+  -- ${line#*$'\t'}}")
            done
            if [[ $kind == parts ]]; then
                compadd -S '' -l -d shown -a values
            else
                compadd -l -d shown -a values
            fi
            ;;
    esac
}
if [[ $funcstack[1] == _process-orchestrator ]]; then
    _process-orchestrator "$@"
else
    compdef _process-orchestrator process-orchestrator
fi
