#!/bin/sh
# Verifies this machine with pause-trace. Needs root. PAUSE_TRACE is the path of the program.
# BASELINE, if it is set, is a JSON report with the findings of this machine's pods that are known.
set -u
pause_trace=${PAUSE_TRACE:-pause-trace}
mkdir -p results
worst=0

# Runs a command that must exit with the given code.
step() {
    expected=$1
    shift
    "$@"
    code=$?
    [ "$code" -eq "$expected" ] && return
    echo "$*: exit code $code instead of $expected" >&2
    # An injected fault was not found.
    [ "$code" -eq 0 ] && code=1
    # 4 (cannot run here) outweighs 1 (a violation), which outweighs 3 (inconclusive).
    case "$code:$worst" in
        *:0 | 4:* | 1:3) worst=$code ;;
    esac
}

# 1. Check what can be verified on this kernel. Exit code 3 means that a hook is missing.
step 0 "$pause_trace" doctor --format json > results/doctor.json

# 2. Verify every promise on the reference pod: a real pause in real namespaces. For a test report.
step 0 "$pause_trace" check --format junit --output results/check.xml

# 3. Check that a fault is found: a container gets its own network namespace, which must be reported as a violation.
step 1 "$pause_trace" check --inject own-net --format sarif --output results/fault.sarif

# 4. Verify the pods that run on this machine, if there are any. For code scanning.
step 0 "$pause_trace" watch --once ${BASELINE:+--baseline "$BASELINE"} --format sarif --output results/pods.sarif

exit "$worst"
