# Completions of pause-trace for bash.
_pause_trace() {
    local program=${COMP_WORDS[0]/#\~/$HOME} line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            # With no reply, this option makes bash complete the names of files.
            compopt -o default 2>/dev/null
            return
        fi
        COMPREPLY+=("${line%%$'\t'*}")
    done < <("$program" __complete "$COMP_CWORD" "${COMP_WORDS[@]}" 2>/dev/null)
}
complete -F _pause_trace pause-trace
