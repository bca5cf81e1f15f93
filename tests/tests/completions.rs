//! The completions of bash, zsh and fish, each in the real shell, with the pods of a real
//! containerd.

use std::{fs, path::Path, path::PathBuf, process::Command};

use pause_trace_tests::{
    lab::{Containerd, Version},
    pause_trace, run, scratch,
};
use xtask_support::places;

/// A shell with the completions that pause-trace wrote for it.
struct Shell {
    /// Runs a script, which is the last argument.
    command: fn(&Path) -> Command,
    /// Prints the candidates for the last of the words in the array or list `words`.
    complete: fn(&[&str]) -> String,
    script: PathBuf,
}

impl Shell {
    fn new(name: &str, command: fn(&Path) -> Command, complete: fn(&[&str]) -> String) -> Self {
        let written = run(["completions", name]);
        assert_eq!(written.code, Some(0), "{written:?}");
        let script = scratch("completions").join(format!("pause-trace.{name}"));
        fs::write(&script, written.stdout).expect("it can be written");
        Self {
            command,
            complete,
            script,
        }
    }

    /// What it offers for the last word, on a node.
    fn offers(&self, lab: &Containerd, line: &str) -> Vec<String> {
        let words: Vec<_> = line.split(' ').collect();
        let mut command = (self.command)(&self.script);
        command.arg((self.complete)(&words));
        let program = pause_trace();
        let directory = program.parent().expect("it is in a directory");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", directory.display()));
        let output = lab.node().output(&mut command);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(errors, "", "{line}");
        let offered = String::from_utf8_lossy(&output.stdout);
        let values = offered.lines().filter_map(|line| line.split('\t').next());
        let values = values.filter(|value| !value.is_empty());
        values.map(str::to_owned).collect()
    }
}

/// What bash does before it calls a completion function, and what it reads after.
fn bash() -> Shell {
    let command = |script: &Path| {
        let mut command = Command::new("bash");
        command.env("SCRIPT", script).args(["--norc", "-c"]);
        command
    };
    let complete = |words: &[&str]| {
        // bash breaks words at "=".
        let quoted: Vec<_> = words
            .iter()
            .flat_map(|word| word.split_inclusive('='))
            .flat_map(|word| match word.strip_suffix('=') {
                Some(begin) => vec![format!("'{begin}'"), "'='".to_owned()],
                None => vec![format!("'{word}'")],
            })
            .collect();
        let empty = if words.last() == Some(&"") { " ''" } else { "" };
        format!(
            "source \"$SCRIPT\"; COMP_WORDS=({}{empty}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _pause_trace; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            quoted.join(" ")
        )
    };
    Shell::new("bash", command, complete)
}

/// The function that zsh calls, with the builtins that only work at a prompt replaced.
fn zsh() -> Shell {
    let command = |script: &Path| {
        let directory = places::directory(places::ZSH);
        let mut command = Command::new(directory.join("bin/zsh"));
        command.env("SCRIPT", script).args(["-f", "-c"]);
        command
    };
    let complete = |words: &[&str]| {
        let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        format!(
            "compdef() {{ completer=$1 }}; _files() {{ print -r -- :files }}; \
             compadd() {{ print -rl -- ${{(P)argv[-1]}} }}; source \"$SCRIPT\"; \
             words=({}); CURRENT=$#words; $completer; true",
            quoted.join(" ")
        )
    };
    Shell::new("zsh", command, complete)
}

/// fish completes a line without a prompt.
fn fish() -> Shell {
    let command = |script: &Path| {
        let directory = places::directory(places::FISH);
        let mut command = Command::new(directory.join("usr/bin/fish"));
        command
            .env("LD_LIBRARY_PATH", places::libraries(&directory))
            .env("HOME", scratch("completions"))
            .env("SCRIPT", script)
            .args(["--no-config", "-c"]);
        command
    };
    let complete =
        |words: &[&str]| format!("source \"$SCRIPT\"; complete -C '{}'", words.join(" "));
    Shell::new("fish", command, complete)
}

#[test]
fn shells_complete_commands_options_names_and_running_pods() {
    let lab = Containerd::start(Version::V1);
    let web = lab.pod("completed").run();
    // Nothing that a pod calls itself runs in the shell of who completes it.
    let hostile = lab.pod("comple$(touch /run/run)").run();
    for shell in [bash(), zsh(), fish()] {
        let offers = |line: &str| shell.offers(&lab, line);
        let name = shell.script.display();
        assert_eq!(offers("pause-trace wat"), ["watch"], "{name}");
        assert_eq!(
            offers("pause-trace watch --requ"),
            ["--require-pods"],
            "{name}"
        );
        assert_eq!(
            offers("pause-trace -v watch --format sa"),
            ["sarif"],
            "{name}"
        );
        assert_eq!(
            offers("pause-trace explain net-sh"),
            ["net-shared"],
            "{name}"
        );
        assert_eq!(
            offers("pause-trace watch --select PT101,net-sh"),
            ["PT101,net-shared"],
            "{name}"
        );
        let equals = offers("pause-trace watch --select=net-sh");
        let expected = ["net-shared", "--select=net-shared"];
        assert!(
            matches!(&equals[..], [one] if expected.contains(&&**one)),
            "{name}: {equals:?}"
        );
        assert_eq!(
            offers("pause-trace check --scenario pod-pl"),
            ["pod-plain"],
            "{name}"
        );
        assert_eq!(
            offers("pause-trace check --inject own-n"),
            ["own-net"],
            "{name}"
        );
        for command in ["inspect", "why", "timeline", "watch --pod"] {
            let line = format!("pause-trace {command} default/comple");
            assert_eq!(offers(&line), ["default/completed"], "{name}: {line}");
        }
        assert_eq!(offers("pause-trace schema "), [""; 0], "{name}");
    }
    assert!(!lab.node().path("/run/run").exists());
    hostile.remove();
    web.remove();
}
