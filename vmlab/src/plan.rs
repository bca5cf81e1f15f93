//! Which machines are booted, and what is done in each.

use crate::{
    containerd,
    guest::Ran,
    judge::{self, Cell},
};

/// Where the guest finds the program under test.
pub(crate) const PROGRAM: &str = "/usr/bin/pause-trace";

/// One boot: what the machine looks like, and what is done in it.
pub(crate) struct Boot {
    /// Names its log.
    pub(crate) name: &'static str,
    /// The kernels it is done with; none for every kernel of this machine's processor.
    pub(crate) kernels: &'static [&'static str],
    /// Of cgroups: `v1` or `v2`, and nothing of the other.
    pub(crate) layout: &'static str,
    pub(crate) cpus: u32,
    /// Kernel parameters.
    pub(crate) parameters: &'static str,
    /// Is there a container runtime in it?
    pub(crate) containerd: bool,
    pub(crate) jobs: &'static [Job],
}

/// Something that is done in a machine: a column of the matrix, which it may share with others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) column: &'static str,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// The reference check passes: these scenarios, or all.
    Check {
        scenarios: &'static [&'static str],
        /// How setns and unshare are seen; the best way where that is none.
        way: Option<&'static str>,
    },
    /// The pods of the machine's own runtime keep the same promises.
    Conformance,
    /// A fault that is planted is found, by this rule and no other.
    Fault {
        name: &'static str,
        rule: &'static str,
    },
    /// Each way to see setns and unshare reports the same, but for one that this kernel does not have, and the verifier has little
    /// to do.
    Doctor { lacks: Option<&'static str> },
}

/// Of each promise something.
const SOME: &[&str] = &[
    "pod-plain",
    "pod-shared-pid",
    "localhost",
    "container-restart",
    "pause-sigterm",
    "orphans-of-session",
];

const ALL: &[&str] = &[];

const fn check(column: &'static str, scenarios: &'static [&'static str]) -> Job {
    let what = What::Check {
        scenarios,
        way: None,
    };
    Job { column, what }
}

const fn by(way: &'static str) -> Job {
    let what = What::Check {
        scenarios: SOME,
        way: Some(way),
    };
    Job { column: way, what }
}

const fn fault(name: &'static str, rule: &'static str) -> Job {
    let what = What::Fault { name, rule };
    Job {
        column: "faults",
        what,
    }
}

const DOCTOR: Job = Job {
    column: "doctor",
    what: What::Doctor { lacks: None },
};

/// BPF trampolines came to aarch64 with Linux 6.4.
const DOCTOR_WITHOUT_FENTRY: Job = Job {
    column: "doctor",
    what: What::Doctor {
        lacks: Some("by fentry"),
    },
};

/// The oldest and the newest.
const ENDS: &[&str] = &["5.10", "newest"];

const PLAIN: Boot = Boot {
    name: "v2",
    kernels: &["5.10"],
    layout: "v2",
    cpus: 2,
    parameters: "",
    containerd: false,
    jobs: &[DOCTOR, check("cgroup v2", ALL)],
};

/// Everything: `cargo xtask vm`. What takes longest comes first, as several machines run at a time.
pub(crate) const WHOLE: &[Boot] = &[
    PLAIN,
    Boot {
        name: "aarch64",
        kernels: &["6.1-arm64"],
        jobs: &[
            DOCTOR_WITHOUT_FENTRY,
            check("cgroup v2", ALL),
            by("tracepoint"),
            fault("own-net", "PT101"),
            fault("ignores-term", "PT301"),
            fault("zombie", "PT401"),
        ],
        ..PLAIN
    },
    Boot {
        name: "containerd",
        kernels: &["6.1"],
        cpus: 1,
        containerd: true,
        jobs: &[Job {
            column: "containerd",
            what: What::Conformance,
        }],
        ..PLAIN
    },
    Boot {
        name: "some",
        kernels: &["6.1", "6.12", "newest"],
        jobs: &[DOCTOR, check("cgroup v2", SOME)],
        ..PLAIN
    },
    Boot {
        name: "ways",
        kernels: ENDS,
        jobs: &[
            by("kprobe"),
            by("tracepoint"),
            fault("own-net", "PT101"),
            fault("ignores-term", "PT301"),
            fault("zombie", "PT401"),
        ],
        ..PLAIN
    },
    Boot {
        name: "v1",
        kernels: &[],
        layout: "v1",
        jobs: &[check("cgroup v1", SOME)],
        ..PLAIN
    },
    Boot {
        name: "1-cpu",
        kernels: ENDS,
        cpus: 1,
        jobs: &[check("1 CPU", SOME)],
        ..PLAIN
    },
    Boot {
        name: "lockdown",
        kernels: ENDS,
        cpus: 4,
        parameters: "lockdown=integrity",
        jobs: &[check("4 CPUs, lockdown", SOME)],
        ..PLAIN
    },
];

/// What a change can be held up by: `cargo xtask vm --fast`, and a step of `cargo xtask test`.
pub(crate) const FAST: &[Boot] = &[Boot {
    name: "fast",
    kernels: &["5.10", "6.1", "newest"],
    jobs: &[DOCTOR, check("cgroup v2", SOME), fault("own-net", "PT101")],
    ..PLAIN
}];

impl Job {
    /// What the guest does, as it reads it: the job's name, the program and its arguments, with tabs between them.
    ///
    /// `patience` says how many times longer than on hardware the check waits.
    pub(crate) fn line(&self, number: usize, asked_for: &[String], patience: u32) -> String {
        let (number, patience) = (number.to_string(), patience.to_string());
        let mut words = vec![&*number, PROGRAM];
        let names;
        match self.what {
            What::Check { scenarios, way } => {
                words.extend(["check", "--format", "json", "--patience", &patience]);
                if let Some(way) = way {
                    words.extend(["--namespace-hook", way]);
                }
                names = match asked_for {
                    [] => scenarios.join(","),
                    _ => asked_for.join(","),
                };
                if !names.is_empty() {
                    words.extend(["--scenario", &names]);
                }
            }
            What::Conformance => {
                words.extend(["check", "--format", "json", "--patience", &patience]);
                words.extend(["--cri", containerd::SOCKET]);
                names = asked_for.join(",");
                if !names.is_empty() {
                    words.extend(["--scenario", &names]);
                }
            }
            What::Fault { name, .. } => {
                words.extend(["check", "--format", "json", "--patience", &patience]);
                words.extend(["--inject", name]);
            }
            What::Doctor { .. } => words.extend(["doctor", "--thorough", "--format", "json"]),
        }
        words.join("\t")
    }

    /// What a test of it is called.
    pub(crate) fn name(&self) -> String {
        match self.what {
            What::Fault { name, .. } => format!("{}: {name}", self.column),
            _ => self.column.to_owned(),
        }
    }

    /// What came of it.
    pub(crate) fn judge(&self, ran: &Ran) -> Cell {
        match self.what {
            What::Check { way, .. } => judge::check(ran, way),
            What::Conformance => judge::check(ran, None),
            What::Fault { rule, .. } => judge::fault(ran, rule),
            What::Doctor { lacks } => judge::doctor(ran, lacks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KERNELS;

    #[test]
    fn a_job_is_what_the_guest_reads() {
        let line = by("kprobe").line(3, &["pod-plain".into(), "localhost".into()], 5);
        let expected = "3\t/usr/bin/pause-trace\tcheck\t--format\tjson\t--patience\t5\t--namespace-hook\tkprobe\t\
                        --scenario\tpod-plain,localhost";
        assert_eq!(line, expected);
        let line = fault("own-net", "PT101").line(0, &[], 1);
        assert!(line.ends_with("\t--inject\town-net"), "{line}");
    }

    #[test]
    fn every_scenario_is_asked_for_by_naming_none() {
        let line = check("cgroup v1", ALL).line(0, &[], 1);
        assert!(!line.contains("--scenario"), "{line}");
    }

    #[test]
    fn boots_name_kernels_that_there_are() {
        for boot in WHOLE.iter().chain(FAST) {
            for name in boot.kernels {
                assert!(KERNELS.iter().any(|kernel| kernel.name == *name), "{name}");
            }
        }
    }
}
