//! Which capabilities pause-trace needs, on pods of a real containerd. Without one that it needs it
//! ends with exit code 4 and its name; a node whose pods it may not read never looks healthy.

use std::{fs, path::PathBuf, process::Command};

use pause_trace_tests::{
    Run,
    lab::{Containerd, Version, image},
    pause_trace,
};

/// The least set for root, as docs/deployment.md names it. It has no CAP_BPF and no CAP_PERFMON,
/// because CAP_SYS_ADMIN includes both.
const ROOT: [&str; 3] = ["sys_admin", "sys_ptrace", "dac_read_search"];
/// The least set for any other user.
const USER: [&str; 3] = ["sys_admin", "sys_ptrace", "dac_override"];
/// What docs/deployment.md named before.
const EBPF_ALONE: [&str; 3] = ["bpf", "perfmon", "sys_admin"];

/// A copy of pause-trace that any user can execute. Dropping it removes it.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Self {
        let directory = std::env::temp_dir();
        let copy = directory.join(format!("pause-trace-privileges-{}", std::process::id()));
        fs::copy(pause_trace(), &copy).expect("it can be copied");
        Self(copy)
    }

    /// Runs it on a node with these capabilities and no other, as root or as nobody.
    fn run(&self, lab: &Containerd, is_root: bool, capabilities: &[&str], args: &[&str]) -> Run {
        let added: Vec<_> = capabilities
            .iter()
            .map(|name| format!(",+{name}"))
            .collect();
        let set = format!("-all{}", added.concat());
        let mut command = Command::new("setpriv");
        command.args([format!("--bounding-set={set}"), format!("--inh-caps={set}")]);
        if !is_root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            command.arg(format!("--ambient-caps={set}"));
        }
        command.arg("--").arg(&self.0).args(args);
        lab.node().output(&mut command).into()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It is removed with the other temporary files otherwise.
        let _ = fs::remove_file(&self.0);
    }
}

/// Without the pods of other tests on this machine.
const ONCE: [&str; 6] = [
    "watch",
    "--once",
    "--format",
    "json",
    "--pod",
    "default/guarded",
];

/// The verdicts of each rule.
fn rules(run: &Run) -> serde_json::Value {
    run.summary()["rules"].clone()
}

#[test]
fn each_set_of_capabilities_verifies_all_pods_or_names_what_is_missing() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let pod = lab.pod("guarded").run();
    let root = pod.serve("root");
    // A process of another user, without capabilities.
    let user = pod.container("user").workload(["serve"]);
    let user = user.security(|security| {
        security.run_as_user = Some(pause_trace_cri::messages::Int64Value { value: 12_345 });
    });
    let user = user.start().settled_in(nix::libc::SYS_ppoll);
    let copy = Copy::new();

    let mut whole: Run = lab.node().output(Command::new(&copy.0).args(ONCE)).into();
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let whole_rules = rules(&whole);
    for (is_root, set) in [
        (true, &ROOT[..]),
        (false, &USER),
        (true, &[EBPF_ALONE, ROOT].concat()),
    ] {
        whole = copy.run(&lab, is_root, set, &ONCE);
        assert_eq!(whole.code, Some(0), "{set:?}: {whole:?}");
        assert_eq!(rules(&whole), whole_rules, "{set:?}: {whole:?}");
        let doctor = copy.run(&lab, is_root, set, &["doctor", "--format", "json"]);
        assert_eq!(doctor.code, Some(0), "{set:?}: {doctor:?}");
    }

    let without = |set: [&'static str; 3], one: &str| {
        let rest = set.into_iter().filter(|name| *name != one);
        rest.collect::<Vec<_>>()
    };
    for (is_root, set) in [(true, ROOT), (false, USER)] {
        for one in set {
            let rest = without(set, one);
            assert_refused(
                &copy,
                &lab,
                (is_root, &rest),
                &format!("CAP_{}", one.to_uppercase()),
            );
        }
    }
    for missing in ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"] {
        assert_refused(&copy, &lab, (true, &EBPF_ALONE), missing);
    }
    // Reading is not enough to connect to a socket.
    assert_refused(&copy, &lab, (false, &ROOT), "CAP_DAC_OVERRIDE");

    // Without any, the first thing that is said is what everyone can do about it.
    for args in [
        &ONCE[..],
        &["ls"],
        &["inspect", "guarded"],
        &["check"],
        &["run", "--once"],
    ] {
        let refused = copy.run(&lab, false, &[], args);
        assert_eq!(refused.code, Some(4), "{args:?}: {refused:?}");
        let says = "pause-trace: needs root";
        assert!(refused.stderr.starts_with(says), "{args:?}: {refused:?}");
    }

    user.end();
    root.end();
    pod.remove();
}

#[track_caller]
fn assert_refused(copy: &Copy, lab: &Containerd, (is_root, set): (bool, &[&str]), missing: &str) {
    let run = copy.run(lab, is_root, set, &ONCE);
    assert_eq!(run.code, Some(4), "{set:?}: {run:?}");
    assert!(run.stderr.contains(missing), "{set:?}: {run:?}");
    assert_eq!(
        run.stdout, "",
        "nothing is said about pods: {set:?}: {run:?}"
    );
    let doctor = copy.run(lab, is_root, set, &["doctor", "--format", "json"]);
    assert_eq!(doctor.code, Some(4), "{set:?}: {doctor:?}");
    let checks = doctor.of_type("check");
    let privileges = checks.iter().find(|check| check["name"] == "privileges");
    let privileges = privileges.unwrap_or_else(|| panic!("{doctor:?}"));
    let detail = privileges["detail"].as_str();
    assert!(
        privileges["state"] == "missing" && detail.is_some_and(|detail| detail.contains(missing)),
        "{set:?}: {privileges}"
    );
}
