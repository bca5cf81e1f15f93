#compdef pause-trace
# Completions of pause-trace for zsh.
_pause_trace() {
    local line
    local -a values shown
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            _files
            return
        fi
        values+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/  }")
    done < <("${words[1]/#\~/$HOME}" __complete $((CURRENT - 1)) "${words[@]}" 2>/dev/null)
    (( $#values )) && compadd -l -d shown -a values
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _pause_trace "$@"
else
    compdef _pause_trace pause-trace
fi
