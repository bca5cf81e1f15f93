//! Recordings: a replay writes what the live run wrote, and reports what is missing.

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{self, Command},
};

use pause_trace_tests::{Run, pause_trace, recording, run, scratch};

const NOBODY: u32 = 65_534;

/// Runs `pause-trace replay` as a user without privileges.
fn replay(recording: &Path) -> Run {
    let place = Place::new();
    let program = place.copy(&pause_trace(), 0o755);
    let recording = place.copy(recording, 0o644);
    Command::new(program)
        .args(["replay", "--format", "json"])
        .arg(recording)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("failed to run pause-trace")
        .into()
}

/// A directory that every user can read. Dropping it removes it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("main").replace("::", "-");
        let path = env::temp_dir().join(format!("pause-trace-{}-{name}", process::id()));
        fs::create_dir_all(&path).expect("it can be made");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755))
            .expect("this process owns the file");
        Self(path)
    }

    fn copy(&self, file: &Path, mode: u32) -> PathBuf {
        let copy = self.0.join(file.file_name().expect("a file has a name"));
        fs::copy(file, &copy).expect("it can be copied");
        fs::set_permissions(&copy, PermissionsExt::from_mode(mode))
            .expect("this process owns the file");
        copy
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn assert_same(live: &str, replayed: &str) {
    for (line, (live, replayed)) in live.lines().zip(replayed.lines()).enumerate() {
        assert_eq!(live, replayed, "line {line}");
    }
    assert_eq!(live.lines().count(), replayed.lines().count());
}

#[test]
fn a_replay_of_the_reference_check_writes_the_same_bytes_without_root() {
    let path = scratch("record").join("reference.ptrec");
    let live = run([
        "check".as_ref(),
        "--format".as_ref(),
        "json".as_ref(),
        "--record".as_ref(),
        path.as_os_str(),
    ]);
    assert_eq!(live.summary()["interrupted"], false, "{live:?}");
    let replayed = replay(&path);
    assert_same(&live.stdout, &replayed.stdout);
    assert_eq!(replayed.code, live.code, "{}", replayed.stderr);

    // Half of a recording gives the same lines up to its end, and no summary that could be mistaken
    // for that of the whole.
    let bytes = fs::read(&path).expect("it was written");
    let half = scratch("record").join("half.ptrec");
    fs::write(&half, &bytes[..bytes.len() / 2]).expect("there is room");
    let cut = replay(&half);
    assert!(cut.stderr.contains("the recording is cut after"), "{cut:?}");
    assert_ne!(cut.code, Some(0), "{cut:?}");
    let replayed = cut.of_type("scenario").len();
    assert!(
        replayed > 0 && replayed < live.of_type("scenario").len(),
        "{replayed}"
    );
    let mut lines = cut.stdout.lines().zip(live.stdout.lines());
    let same = lines.by_ref().take_while(|(cut, live)| cut == live).count();
    assert!(same >= replayed, "{same} lines are the same");
}

#[test]
fn a_killer_outside_the_pods_is_described_and_a_replay_says_the_same() {
    let path = scratch("record").join("kill.ptrec");
    let live = run([
        "check".as_ref(),
        "--format".as_ref(),
        "json".as_ref(),
        "--inject".as_ref(),
        "foreign-kill".as_ref(),
        "--record".as_ref(),
        path.as_os_str(),
    ]);
    let findings = live.of_type("finding");
    let [kill] = &findings[..] else {
        panic!("one finding: {live:#?}")
    };
    let text = |name: &str| kill["observed"][name].as_str().unwrap_or_default();
    let (parent, command) = (text("sender_parent"), text("sender_command"));
    assert!(parent.starts_with("pause-trace (pid "), "{kill}");
    assert!(
        command.starts_with("pause-trace __bystander kill "),
        "{kill}"
    );
    assert_same(&live.stdout, &replay(&path).stdout);
}

#[test]
fn a_replay_of_a_real_pod_writes_the_same_bytes_without_root() {
    let path = scratch("record").join("containerd.ptrec");
    let (live, uid) = recording::of_containerd_pod(&path);
    let replayed = replay(&path);
    assert_same(&live, &replayed.stdout);
    let of_pod = run([
        "replay".as_ref(),
        path.as_os_str(),
        "--format=json".as_ref(),
        "--pod".as_ref(),
        uid.as_ref(),
    ]);
    let findings = of_pod.of_type("finding");
    assert!(!findings.is_empty());
    assert!(findings.iter().all(|finding| finding["pod"]["uid"] == *uid));
}

/// Recordings of every version of the format must stay replayable.
#[test]
fn a_recording_of_format_1_is_replayed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/containerd-pod-v1.ptrec");
    let replayed = replay(&path);
    assert_eq!(replayed.code, Some(1), "{}", replayed.stderr);
    let mut rules: Vec<_> = replayed
        .of_type("finding")
        .iter()
        .filter(|finding| finding["pod"]["name"] == "recorded")
        .map(|finding| finding["rule"].as_str().expect("an id").to_owned())
        .collect();
    rules.sort_unstable();
    assert_eq!(rules, recording::BROKEN);
    let events = replayed.of_type("pod");
    let happened: Vec<_> = events
        .iter()
        .filter(|line| line["pod"]["name"] == "recorded")
        .map(|line| {
            let name = line["container"]["name"].as_str().unwrap_or("pod");
            format!("{name} {}", line["event"].as_str().expect("a name"))
        })
        .collect();
    assert_eq!(
        happened,
        [
            "pause started",
            "serves started",
            "deaf started",
            "deaf ended",
            "serves ended",
            "pause ended",
            "pod removed",
            "pod verified"
        ]
    );
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_check() {
    let disk = scratch("full-recording");
    // The mount is removed with the mount namespace when the shell ends.
    let script = "mount -t tmpfs -o size=4k none \"$1\" && cd \"$1\" && \
                  \"$0\" check --scenario pod-plain,localhost --format json --record full.ptrec; code=$?; \
                  \"$0\" replay full.ptrec >/dev/null 2>replay.log; exit $code";
    let live: Run = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .args([pause_trace(), disk])
        .output()
        .expect("failed to run unshare")
        .into();
    assert_eq!(live.code, Some(4), "{live:?}");
    assert!(
        live.stderr
            .contains("failed to record to full.ptrec: No space left on device"),
        "{live:?}"
    );
    assert_eq!(live.summary()["scenarios"]["pass"], 2, "{live:?}");
}

#[track_caller]
fn assert_refused(name: &str, content: &[u8], message: &str) {
    let path = scratch("record").join(name);
    fs::write(&path, content).expect("there is room");
    let run = run(["replay".as_ref(), path.as_os_str()]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains(message), "{run:?}");
}

#[test]
fn a_file_that_is_not_a_recording_is_refused() {
    assert_refused("empty", b"", "the file is empty");
    assert_refused("text", b"{\"schema\":1}\n", "not a pause-trace recording");
    assert_refused("newer", b"\x89PTREC\r\n\xff\xff", "newer pause-trace");
    assert_refused(
        "head",
        b"\x89PTREC\r\n\x01\0",
        "nothing of it can be replayed",
    );
    for (path, message) in [("/nonexistent", "No such file"), ("/tmp", "is a directory")] {
        let run = run(["replay", path]);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(message), "{run:?}");
    }
    let run = run(["check", "--record", "/proc/nowhere/x"]);
    assert_eq!(run.code, Some(2), "{run:?}");
}
