# Completes process-orchestrator in fish. The program itself knows the candidates; see `help completions`.
function __process_orchestrator_candidates
    set -l line (string trim -l -- (commandline -cp | string collect))
    set -l program (string replace -r '^~/' "$HOME/" -- (string split -f 1 ' ' -- $line))
    set -l lines ($program complete fish $line 2>/dev/null)
    set -l token (commandline -ct | string collect)
    set -l before (string match -r -- '^--[^=]*=' $token)
    set -l path (string replace -r -- '^--[^=]*=' '' $token)
    switch "$lines[1]"
        case files
            printf '%s\n' "$before"(__fish_complete_path $path)
        case directories
            printf '%s\n' "$before"(__fish_complete_directories $path)
        case words parts
            printf '%s\n' $lines[2..-1]
    end
end
complete -c process-orchestrator -k -f -a '(__process_orchestrator_candidates)'
