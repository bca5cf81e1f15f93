//! The plugin of kubectl, with a program that stands for kubectl: it answers like an API server
//! with one pod on one node, and writes down what it is asked to execute.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use pause_trace_tests::{pause_trace, scratch};

/// `get pod web` finds a pod on the node `n1`, `get pod new` one that has no node yet. The agent
/// runs on `n1` only.
const KUBECTL: &str = r#"#!/bin/sh
case "$*" in
*"get pod web --output"*) printf 'default n1' ;;
*"get pod new --output"*) printf 'default ' ;;
*"get pod "*) echo 'Error from server (NotFound): pods "gone" not found' >&2; exit 1 ;;
*"get pods --all-namespaces --selector app.kubernetes.io/name=pause-trace --field-selector=spec.nodeName=n1,status.phase=Running"*)
    printf 'kube-system pause-trace-x2x7k\n' ;;
*"get pods "*) ;;
*" exec "* | "exec "*) printf '%s\n' "$*" > "$(dirname "$0")/executed"; exit 3 ;;
*) exit 9 ;;
esac
"#;

/// A directory with the plugin and with kubectl.
fn programs(name: &str) -> PathBuf {
    let directory = scratch("kubectl").join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("it is ours");
    let kubectl = directory.join("kubectl");
    fs::write(&kubectl, KUBECTL).expect("it is ours");
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).expect("it is ours");
    symlink(
        fs::canonicalize(pause_trace()).expect("it exists"),
        directory.join("kubectl-pause_trace"),
    )
    .expect("it is ours");
    directory
}

fn plugin(directory: &Path, arguments: &[&str]) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new(directory.join("kubectl-pause_trace"))
        .args(arguments)
        .env("PATH", format!("{}:{path}", directory.display()))
        .output()
        .expect("it starts")
}

#[test]
fn the_pod_of_the_node_is_asked_and_its_exit_code_is_passed_on() {
    let directory = programs("asks");
    for (arguments, expected) in [
        (
            &["why", "web"][..],
            "exec --namespace kube-system pause-trace-x2x7k -- /pause-trace why default/web",
        ),
        (
            &[
                "inspect",
                "pod/web",
                "--context",
                "lab",
                "--",
                "--format",
                "json",
            ],
            "--context=lab exec --namespace kube-system pause-trace-x2x7k -- /pause-trace inspect default/web --format json",
        ),
        (
            &["why", "shop/gone", "--node", "n1"],
            "exec --namespace kube-system pause-trace-x2x7k -- /pause-trace why shop/gone",
        ),
        (
            &["ls", "--node", "n1"],
            "exec --namespace kube-system pause-trace-x2x7k -- /pause-trace ls",
        ),
    ] {
        let output = plugin(&directory, arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {output:?}");
        let executed = fs::read_to_string(directory.join("executed")).expect("it was executed");
        assert_eq!(executed.trim_end(), expected, "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_asked_is_said() {
    let directory = programs("refuses");
    for (arguments, code, message) in [
        (
            &["why", "gone"][..],
            4,
            "kubectl does not find the pod gone",
        ),
        (&["why", "new"], 3, "the scheduler has not placed it"),
        (
            &["ls", "--node", "n2"],
            3,
            "no pod of pause-trace runs on the node n2",
        ),
        (&["ls", "web"], 2, "name it with --node"),
        (&["why", "--node", "n1"], 2, "expected a pod"),
        (&["why", "a/b/c"], 2, "is no pod"),
        (&["why"], 2, "<POD>"),
    ] {
        let output = plugin(&directory, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(message), "{arguments:?}: {errors}");
    }
    assert!(!directory.join("executed").exists());
    fs::remove_file(directory.join("kubectl")).expect("it is ours");
    let output = Command::new(directory.join("kubectl-pause_trace"))
        .args(["why", "web"])
        .env("PATH", &directory)
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{errors}");
    assert!(
        errors.contains("failed to start kubectl, which must be in PATH"),
        "{errors}"
    );
}
