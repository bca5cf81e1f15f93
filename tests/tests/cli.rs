//! The contract of the command line: error messages and exit codes.

use std::{
    io::Read as _,
    process::{Command, Stdio},
};

use pause_trace_tests::{Run, pause_trace, run, scratch};

#[track_caller]
fn assert_refused(args: &[&str], code: i32, message: &str) {
    let run = run(args);
    assert_eq!(run.code, Some(code), "{args:?}: {run:#?}");
    assert!(run.stderr.contains(message), "{args:?}: {run:#?}");
    assert!(!run.stderr.contains("panicked"), "{run:#?}");
}

#[test]
fn wrong_names_are_refused_with_a_suggestion() {
    assert_refused(
        &["check", "--scenario", "pod-plian"],
        2,
        "did you mean \"pod-plain\"",
    );
    assert_refused(
        &["check", "--inject", "own-nett"],
        2,
        "did you mean \"own-net\"",
    );
    assert_refused(&["check", "--select", "PT777"], 2, "there is no rule");
    assert_refused(&["explain", "net-shard"], 2, "did you mean \"net-shared\"");
    assert_refused(&["chekc"], 2, "check");
}

#[test]
fn patience_is_a_small_whole_number() {
    for factor in ["0", "1.5", "-3", "1000", "much"] {
        let wanted = "not a whole number from 1 to 100";
        assert_refused(&["check", &format!("--patience={factor}")], 2, wanted);
    }
}

#[test]
fn a_pause_that_is_not_a_program_is_refused_before_anything_runs() {
    assert_refused(
        &["check", "--pause", "/nonexistent"],
        2,
        "/nonexistent: No such file",
    );
    assert_refused(&["check", "--pause", "/tmp"], 2, "not a file");
    assert_refused(&["check", "--pause", "/etc/passwd"], 2, "not executable");
    let empty = scratch("empty").join("empty");
    std::fs::write(&empty, "").expect("it can be written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&empty, mode).expect("this process owns the file");
    assert_refused(
        &["check", "--pause", &empty.to_string_lossy()],
        2,
        "neither an ELF program nor a script",
    );
}

#[test]
fn a_pause_that_is_a_fifo_is_refused_and_not_waited_for() {
    let fifo = scratch("fifo").join("pause");
    let _ = std::fs::remove_file(&fifo);
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("it can be made");
    assert_refused(
        &["check", "--pause", &fifo.to_string_lossy()],
        2,
        "not a file",
    );
}

#[test]
fn a_file_that_a_run_would_write_twice_is_refused_and_not_touched() {
    let directory = scratch("same");
    let at = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let (new, there, before) = (at("new"), at("there"), at("there.1"));
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/containerd-pod-v1.ptrec"
    );
    std::fs::copy(fixture, &there).expect("it can be copied");
    let whole = std::fs::read(&there).expect("it was copied");
    let same = "are the same file";
    for command in ["watch", "run", "check"] {
        assert_refused(&[command, "--record", &new, "--output", &new], 2, same);
        assert_refused(&[command, "--record", &there, "--output", &there], 2, same);
        // The older part of a recording with a limit.
        assert_refused(&[command, "--record", &there, "--output", &before], 2, same);
    }
    assert_refused(&["replay", &there, "--output", &there], 2, same);
    assert_refused(&["report", &there, "--html", &there], 2, same);
    let trace = [
        "timeline",
        "web",
        "--recording",
        &there,
        "--perfetto",
        &there,
        "--force",
    ];
    assert_refused(&trace, 2, same);
    assert_eq!(std::fs::read(&there).expect("it is there"), whole);
    assert!(!std::path::Path::new(&new).exists());

    let file = std::fs::File::options().append(true).open(&there);
    let redirected: Run = Command::new(pause_trace())
        .args(["replay", &there])
        .stdout(file.expect("it can be opened"))
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("failed to run pause-trace")
        .into();
    assert_eq!(redirected.code, Some(2), "{redirected:?}");
    assert_eq!(std::fs::read(&there).expect("it is there"), whole);
}

#[test]
fn a_socket_that_is_none_is_said_to_be_none() {
    for args in [
        &["watch", "--once", "--cri", "/tmp"][..],
        &["check", "--cri", "/tmp"],
        &["run", "--once", "--cri", "/etc/passwd"],
    ] {
        assert_refused(args, 3, "is not a socket");
    }
}

#[test]
fn data_behind_a_recording_is_said_after_its_report() {
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/containerd-pod-v1.ptrec"
    );
    let whole = run(["replay", fixture, "--format", "json", "--select", "PT1"]);
    let file = scratch("junk").join("junk.ptrec");
    let mut bytes = std::fs::read(fixture).expect("it is there");
    bytes.extend_from_slice(b"junk");
    std::fs::write(&file, bytes).expect("it can be written");
    let file = file.to_string_lossy();
    let junk = run(["replay", &file, "--format", "json", "--select", "PT1"]);
    assert_eq!(
        whole.of_type("verdict").len(),
        junk.of_type("verdict").len()
    );
    assert!(
        junk.stderr.contains("followed by other data from byte"),
        "{junk:?}"
    );
    assert_eq!((whole.code, junk.code), (Some(0), Some(3)), "{junk:?}");
    let page = scratch("junk").join("junk.html");
    let page = run([
        "report",
        &file,
        "--html",
        &page.to_string_lossy(),
        "--select",
        "PT1",
    ]);
    assert_eq!(page.code, Some(3), "{page:?}");
    assert!(page.stderr.contains("followed by other data"), "{page:?}");
}

/// Runs a command line of a shell, of which `"$0"` is pause-trace.
fn shell(script: &str) -> Run {
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(pause_trace())
        .output();
    output.expect("failed to run sh").into()
}

#[test]
fn too_little_memory_is_said_before_the_work_and_does_not_abort() {
    for limit in ["-v 60000", "-v 100000", "-v 150000", "-d 60000"] {
        for command in [
            "watch --once",
            "check --scenario pod-target",
            "ls",
            "doctor",
        ] {
            let run = shell(&format!("ulimit {limit}; exec \"$0\" {command}"));
            assert_eq!(run.code, Some(4), "{limit} {command}: {run:?}");
            assert!(
                run.stderr.contains("ulimit -v"),
                "{limit} {command}: {run:?}"
            );
        }
    }
}

#[test]
fn another_clock_and_other_pids_are_refused_at_once() {
    for command in [
        "watch",
        "check --scenario pod-target",
        "run",
        "record -o /dev/null",
    ] {
        for (unshare, what) in [
            ("--time --boottime -1000", "time namespace"),
            ("--time --boottime 1000", "time namespace"),
            ("--pid --fork", "pid namespace"),
            ("--pid --fork --mount-proc", "pid namespace"),
        ] {
            // Ends a run that does not end by itself, as the tests have no limit of their own.
            let limited = "timeout --signal=INT --kill-after=20 20";
            let run = shell(&format!(
                "exec unshare {unshare} {limited} \"$0\" {command}"
            ));
            assert_eq!(run.code, Some(4), "{unshare} {command}: {run:?}");
            let says = format!("the {what} of this process is");
            assert!(run.stderr.contains(&says), "{unshare} {command}: {run:?}");
        }
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    assert_refused(
        &["check", "--output", "/proc/nowhere/x"],
        2,
        "failed to create /proc/nowhere/x",
    );
    for format in ["text", "json", "junit", "sarif"] {
        let args = [
            "check",
            "--scenario",
            "pod-target",
            "--format",
            format,
            "--output",
            "/dev/full",
        ];
        assert_refused(&args, 4, "No space left on device");
    }
}

#[test]
fn an_image_that_would_replace_a_file_or_has_a_bad_name_is_refused() {
    let path = scratch("image").join("image.tar");
    let path = path.to_string_lossy();
    let written = run(["image", "--force", "--out", &path]);
    assert_eq!(written.code, Some(0), "{written:?}");
    let whole = std::fs::read(&*path).expect("it was written");
    let piped = Command::new(pause_trace())
        .args(["image", "-o", "-"])
        .output();
    assert_eq!(piped.expect("failed to run pause-trace").stdout, whole);

    assert_refused(&["image", "-o", &path], 2, "--force replaces it");
    assert_refused(
        &["image", "-o", "/dev/full", "--force"],
        2,
        "not a regular file",
    );
    assert_refused(
        &["image", "-o", "x", "--name", "pause:1"],
        2,
        "has no registry",
    );
    assert_refused(&["image", "-o", "x", "--pause", "nap"], 2, "no-reap");
    assert_refused(&["image", "-o", "/proc/x"], 4, "failed to write /proc/x");
}

#[test]
fn a_full_disk_is_reported_and_no_partial_image_stays() {
    let disk = scratch("full-disk");
    // The mount is removed with the mount namespace when the shell ends.
    let script = "mount -t tmpfs -o size=8k none \"$1\" && cd \"$1\" && \"$0\" image -o image.tar; code=$?; ls -A; exit $code";
    let run: Run = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .args([pause_trace(), disk])
        .output()
        .expect("failed to run unshare")
        .into();
    assert_eq!((run.code, &*run.stdout), (Some(4), ""), "{run:?}");
    let message = "failed to write image.tar: No space left on device";
    assert!(run.stderr.contains(message), "{run:?}");
}

#[test]
fn a_closed_stdout_is_not_a_crash() {
    let mut child = Command::new(pause_trace())
        .args(["check", "--scenario", "pod-plain", "--format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut [0; 1]).expect("it writes something");
    drop(stdout);
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !stderr.contains("panicked") && !stderr.contains("Broken pipe"),
        "{stderr}"
    );
    assert_eq!(
        output.status.code(),
        Some(3),
        "an incomplete run never passes: {stderr}"
    );
}

#[test]
fn without_privileges_the_error_says_how_to_run_it() {
    let program = scratch_copy();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["check", "--scenario", "pod-plain"])
        .output()
        .expect("setpriv runs");
    std::fs::remove_dir_all(program.parent().expect("a directory"))
        .expect("this process owns the file");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(
        stderr.contains("root") || stderr.contains("CAP_BPF"),
        "{stderr}"
    );
}

/// A copy of pause-trace that a user without privileges can execute.
fn scratch_copy() -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("pause-trace-cli-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let copy = directory.join("pause-trace");
    std::fs::copy(pause_trace(), &copy).expect("it can be copied");
    copy
}

#[test]
fn junit_and_sarif_are_well_formed() {
    let run_as = |format| {
        let run = run(["check", "--scenario", "pod-plain", "--format", format]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        run.stdout
    };
    let junit = run_as("junit");
    assert!(
        junit.starts_with("<?xml") && junit.contains("<testsuites"),
        "{junit}"
    );
    let sarif: serde_json::Value = serde_json::from_str(&run_as("sarif")).expect("SARIF is JSON");
    assert_eq!(sarif["version"], "2.1.0");
}

#[test]
fn rules_are_listed_and_explained() {
    let rules = run(["rules"]);
    assert_eq!(rules.code, Some(0));
    for id in ["PT101", "PT104", "PT301", "PT402", "PT501", "PT901"] {
        assert!(rules.stdout.contains(id), "{rules:#?}");
        let explained = run(["explain", id]);
        assert_eq!(explained.code, Some(0), "{explained:#?}");
        assert!(
            explained.stdout.contains("Why it matters"),
            "{explained:#?}"
        );
    }
}

#[test]
fn the_page_of_rules_is_up_to_date() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rules.md");
    let written = std::fs::read_to_string(page).expect("docs/rules.md can be read");
    let generated = run(["rules", "--format", "markdown"]).stdout;
    assert_eq!(
        written, generated,
        "run `PAUSE_TRACE_BLESS=1 cargo test -p pause-trace-core --test rules_page`"
    );
}

#[test]
fn doctor_accepts_this_machine() {
    let run = run(["doctor", "--format", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert!(
        run.objects()
            .iter()
            .any(|check| check["name"] == "self-test" && check["state"] == "ok"),
        "{run:#?}"
    );
}

#[test]
fn doctor_reports_the_cost_of_programs_and_that_all_hooks_agree() {
    let run = run(["doctor", "--thorough", "--format", "json"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let checks = run.objects();
    let find = |name: &str| {
        let found = checks.iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("the check {name} is missing: {run:#?}"))
    };
    assert_eq!(find("ways agree")["state"], "ok", "{run:#?}");
    let verifier = find("verifier");
    assert_eq!(verifier["state"], "ok", "{verifier:#}");
    // At least one kind of hook works, and its programs were measured.
    let is_measured = |program: &str| verifier["numbers"][program].as_u64() > Some(0);
    let ways = ["setns_fexit", "setns_kprobe", "setns_exit"];
    assert!(
        is_measured("fork") && ways.into_iter().any(is_measured),
        "{verifier:#}"
    );
    assert!(find("BTF")["numbers"]["task_struct.pid"].is_u64());
}

/// Runs pause-trace in other namespaces.
fn in_namespaces(flags: &[&str], args: &[&str]) -> Run {
    let mut command = Command::new("unshare");
    command.args(flags).arg(pause_trace()).args(args);
    command.output().expect("unshare runs").into()
}

#[test]
fn in_another_pid_namespace_every_command_names_it_at_once() {
    for args in [
        &["watch", "--once"][..],
        &["run", "--once"],
        &["check", "--scenario", "pod-plain"],
        &["check", "--pause", "/bin/true"],
        &["ls"],
        &["ls", "--no-ebpf"],
        &["inspect", "web"],
        &["why", "web"],
        &["timeline", "web", "--for", "1s"],
        &["record", "--once", "-o", "/dev/null"],
        &["report", "--html", "/dev/null"],
    ] {
        let run = in_namespaces(&["--pid", "--fork", "--mount-proc"], args);
        assert_eq!(run.code, Some(4), "{args:?}: {run:?}");
        let says = "pause-trace: the pid namespace of this process is ";
        assert!(run.stderr.starts_with(says), "{args:?}: {run:?}");
        assert!(run.stderr.contains("hostPID"), "{args:?}: {run:?}");
    }
}

#[test]
fn another_boot_time_is_refused_and_reading_proc_is_not() {
    let flags = ["--time", "--boottime", "1000", "--fork"];
    for args in [
        &["watch", "--once"][..],
        &["check", "--scenario", "pod-plain"],
    ] {
        let run = in_namespaces(&flags, args);
        assert_eq!(run.code, Some(4), "{args:?}: {run:?}");
        let says = "the time namespace of this process is not the initial one (its boot time differs by 1000000 ms)";
        assert!(run.stderr.contains(says), "{args:?}: {run:?}");
    }
    let doctor = in_namespaces(&flags, &["doctor", "--format", "json"]);
    assert_eq!(doctor.code, Some(4), "{doctor:?}");
    // What /proc shows has the times of this namespace too.
    let read = in_namespaces(&flags, &["ls", "--no-ebpf"]);
    assert_eq!(read.code, Some(0), "{read:?}");
}

#[test]
fn an_idle_time_that_proves_nothing_is_refused() {
    let args = ["check", "--idle", "0s", "--scenario", "pause-idle"];
    assert_refused(&args, 2, "the shortest is 100ms");
}

#[test]
fn missing_btf_is_an_error() {
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" check --scenario pod-plain";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", hide])
        .arg(pause_trace())
        .output()
        .expect("unshare runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(
        stderr.contains("/sys/kernel/btf/vmlinux") && stderr.contains("CONFIG_DEBUG_INFO_BTF"),
        "{stderr}"
    );
}
