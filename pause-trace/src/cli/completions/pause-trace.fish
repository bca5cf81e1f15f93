# Completions of pause-trace for fish.
function __pause_trace_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -q current[1]; or set current ''
    set -l program $words[1]
    set -l found ($program __complete (count $words) $words $current 2>/dev/null)
    if test "$found[1]" = :files
        __fish_complete_path $current
    else if set -q found[1]
        printf '%s\n' $found
    end
end
complete -c pause-trace -f -a '(__pause_trace_complete)'
