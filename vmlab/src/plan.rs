//! The machines to boot, and the jobs of each.

use crate::{
    containerd,
    guest::Ran,
    judge::{self, Cell},
};

/// The path of pause-trace in the guest.
pub(crate) const PROGRAM: &str = "/usr/bin/pause-trace";

/// One boot: the machine and its jobs.
pub(crate) struct Boot {
    /// The name of its log.
    pub(crate) name: &'static str,
    /// The kernels to boot; empty for every kernel of the host's processor.
    pub(crate) kernels: &'static [&'static str],
    /// The only version of cgroups that is mounted: `v1` or `v2`.
    pub(crate) layout: &'static str,
    pub(crate) cpus: u32,
    /// Kernel parameters.
    pub(crate) parameters: &'static str,
    /// Whether it runs a container runtime.
    pub(crate) containerd: bool,
    /// Whether its wall clock jumps back and forth all the time.
    pub(crate) clock_steps: bool,
    pub(crate) jobs: &'static [Job],
}

/// A program that the guest runs, and the column of the matrix for its result. Jobs may share a
/// column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) column: &'static str,
    pub(crate) what: JobKind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum JobKind {
    /// The reference check passes: these scenarios, or all if the list is empty.
    Check {
        scenarios: &'static [&'static str],
        /// The kind of hook that observes setns and unshare; `None` for the best one.
        way: Option<&'static str>,
    },
    /// The pods of the machine's own runtime keep the same promises.
    Conformance,
    /// This rule and no other finds the planted fault.
    Fault {
        name: &'static str,
        rule: &'static str,
    },
    /// Every kind of hook for setns and unshare works, except for one that this kernel lacks, and
    /// reports the same events; and the verifier processes few instructions.
    Doctor { lacks: Option<&'static str> },
}

/// At least one scenario of each promise.
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
    let what = JobKind::Check {
        scenarios,
        way: None,
    };
    Job { column, what }
}

const fn by(way: &'static str) -> Job {
    let what = JobKind::Check {
        scenarios: SOME,
        way: Some(way),
    };
    Job { column: way, what }
}

const fn fault(name: &'static str, rule: &'static str) -> Job {
    let what = JobKind::Fault { name, rule };
    Job {
        column: "faults",
        what,
    }
}

const DOCTOR: Job = Job {
    column: "doctor",
    what: JobKind::Doctor { lacks: None },
};

/// aarch64 has BPF trampolines, which fentry needs, since Linux 6.4.
const DOCTOR_WITHOUT_FENTRY: Job = Job {
    column: "doctor",
    what: JobKind::Doctor {
        lacks: Some("by fentry"),
    },
};

/// The oldest and the newest kernel.
const ENDS: &[&str] = &["5.10", "newest"];

const PLAIN: Boot = Boot {
    name: "v2",
    kernels: &["5.10"],
    layout: "v2",
    cpus: 2,
    parameters: "",
    containerd: false,
    clock_steps: false,
    jobs: &[DOCTOR, check("cgroup v2", ALL)],
};

/// The boots of `cargo xtask vm`. The longest come first, because several machines run at a time.
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
            what: JobKind::Conformance,
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
        name: "clock",
        kernels: ENDS,
        clock_steps: true,
        jobs: &[check("clock steps", SOME)],
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

/// The boots of `cargo xtask vm --fast`, which is a step of `cargo xtask test`.
pub(crate) const FAST: &[Boot] = &[
    Boot {
        name: "fast",
        kernels: &["5.10", "6.1", "newest"],
        jobs: &[
            DOCTOR,
            check("cgroup v2", SOME),
            fault("own-net", "PT101"),
            // Only cgroup v2 has memory.oom.group.
            fault("container-oom", "PT211"),
        ],
        ..PLAIN
    },
    Boot {
        name: "clock",
        kernels: &["6.1"],
        clock_steps: true,
        jobs: &[check("clock steps", SOME)],
        ..PLAIN
    },
];

/// The line of a plan that makes the guest set its wall clock back and forth.
pub(crate) const CLOCK_STEPS: &str = "+clock";

impl Job {
    /// The line of the plan: the job's name, the program and its arguments, separated by tabs.
    ///
    /// `patience` is how many times longer than on hardware the check waits.
    pub(crate) fn line(&self, number: usize, selected: &[String], patience: u32) -> String {
        let (number, patience) = (number.to_string(), patience.to_string());
        let mut words = vec![&*number, PROGRAM];
        let names;
        match self.what {
            JobKind::Check { scenarios, way } => {
                words.extend(["check", "--format", "json", "--patience", &patience]);
                if let Some(way) = way {
                    words.extend(["--namespace-hook", way]);
                }
                names = match selected {
                    [] => scenarios.join(","),
                    _ => selected.join(","),
                };
                if !names.is_empty() {
                    words.extend(["--scenario", &names]);
                }
            }
            JobKind::Conformance => {
                words.extend(["check", "--format", "json", "--patience", &patience]);
                words.extend(["--cri", containerd::SOCKET]);
                names = selected.join(",");
                if !names.is_empty() {
                    words.extend(["--scenario", &names]);
                }
            }
            JobKind::Fault { name, .. } => {
                words.extend(["check", "--format", "json", "--patience", &patience]);
                words.extend(["--inject", name]);
            }
            JobKind::Doctor { .. } => words.extend(["doctor", "--thorough", "--format", "json"]),
        }
        words.join("\t")
    }

    /// Its name in the list of results.
    pub(crate) fn name(&self) -> String {
        match self.what {
            JobKind::Fault { name, .. } => format!("{}: {name}", self.column),
            _ => self.column.to_owned(),
        }
    }

    /// Judges what it printed.
    pub(crate) fn judge(&self, ran: &Ran) -> Cell {
        match self.what {
            JobKind::Check { way, .. } => judge::check(ran, way),
            JobKind::Conformance => judge::check(ran, None),
            JobKind::Fault { rule, .. } => judge::fault(ran, rule),
            JobKind::Doctor { lacks } => judge::doctor(ran, lacks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KERNELS;

    #[test]
    fn a_job_is_a_line_of_the_plan() {
        let line = by("kprobe").line(3, &["pod-plain".into(), "localhost".into()], 5);
        let expected = "3\t/usr/bin/pause-trace\tcheck\t--format\tjson\t--patience\t5\t--namespace-hook\tkprobe\t\
                        --scenario\tpod-plain,localhost";
        assert_eq!(line, expected);
        let line = fault("own-net", "PT101").line(0, &[], 1);
        assert!(line.ends_with("\t--inject\town-net"), "{line}");
    }

    #[test]
    fn a_job_with_every_scenario_names_none() {
        let line = check("cgroup v1", ALL).line(0, &[], 1);
        assert!(!line.contains("--scenario"), "{line}");
    }

    #[test]
    fn boots_name_known_kernels() {
        for boot in WHOLE.iter().chain(FAST) {
            for name in boot.kernels {
                assert!(KERNELS.iter().any(|kernel| kernel.name == *name), "{name}");
            }
        }
    }
}
