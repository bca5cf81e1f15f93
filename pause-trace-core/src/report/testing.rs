//! Fixtures for tests of reports: one of each item, with hostile names where a pod can choose them.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    event::{
        Comm, ContainerFact, ContainerKind, Fact, Kind, Modes, PodFact, ProcessId, Source, Text,
    },
    rules::{self, Counts, Rule},
    verdict::{
        Decision, Details, Excepted, Outcome, ProcessRef, Severity, Subject, Value, Verdict,
    },
};

use super::{Clock, Hello, Hook, Loss, Names, Report, ScenarioResult, Summary};

/// A name with a terminal escape, markup, quotes, a newline and a mark that reverses the direction
/// of text.
pub const HOSTILE: &str = "\x1b[2J<b a=\"'&\n\u{202e}";

/// A clock with which kernel time 1 s is 2026-11-21T20:00:01Z.
pub const CLOCK: Clock = Clock {
    offset: 1_795_291_200_000_000_000,
};

/// A writer whose content the test can read.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// The text written so far.
    pub fn text(&self) -> String {
        String::from_utf8(
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
        .expect("reports are UTF-8")
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The rule of the verdicts.
pub fn rule() -> &'static Rule {
    rules::find("PT101").expect("PT101 is in the table")
}

/// The pod `default/web` with the container `app`, and a pod and a container with hostile names.
pub fn names() -> Names {
    let mut names = Names::default();
    for (pod, container, namespace, name, app) in [
        ("uid-1", "c1", "default", "web", "app"),
        ("uid-2", "c2", "default", HOSTILE, HOSTILE),
    ] {
        let pod = Fact::Pod(PodFact {
            pod: pod.into(),
            namespace: Text::new(namespace),
            name: Text::new(name),
            modes: Modes::plain(),
            source: Source::Cri,
        });
        let Fact::Pod(PodFact { pod: id, .. }) = &pod else {
            continue;
        };
        let container = Fact::Container(ContainerFact {
            container: container.into(),
            pod: id.clone(),
            name: Text::new(app),
            what: ContainerKind::App,
            cgroup: 7,
            modes: Modes::plain(),
            stop_signal: 15,
            sandbox: None,
            file: None,
            source: Source::Cri,
        });
        names.learn(&pod);
        names.learn(&container);
    }
    names
}

/// A verdict that passed.
pub fn passed() -> Verdict {
    Verdict {
        rule: rule(),
        outcome: Outcome::Pass,
        time: 1_000_000_000,
        subject: Subject {
            pod: Some("uid-1".into()),
            container: Some("c1".into()),
            ..Subject::default()
        },
        details: Details::new("net 4026532179, as the sandbox's"),
        decision: Decision::default(),
    }
}

/// A verdict that failed, about a process and with evidence.
pub fn failed() -> Verdict {
    let process = ProcessRef {
        id: ProcessId {
            pid: 4711,
            start: 900,
        },
        ns_pid: 1,
        comm: Comm::new("nginx"),
    };
    Verdict {
        outcome: Outcome::Fail,
        subject: Subject {
            process: Some(process),
            ..passed().subject
        },
        details: Details::new("the process runs in the host's network namespace")
            .expected("net", Value::Namespace(4026532179))
            .observed("net", Value::Namespace(4026531840))
            .observed("after", Value::Duration(1_500_000))
            .evidence(998_800_000, "pause (pid 4700) executed in net 4026532179")
            .evidence(1_000_000_000, "nginx executed in net 4026531840"),
        ..passed()
    }
}

/// The same, accepted by the owner of the node.
pub fn excepted() -> Verdict {
    let excepted = Excepted {
        reason: "the legacy image needs it".to_owned(),
        expires: Some("2099-01-31".to_owned()),
    };
    Verdict {
        decision: Decision {
            severity: Some(Severity::Warning),
            excepted: Some(Arc::new(excepted)),
        },
        ..failed()
    }
}

/// A verdict that failed, with hostile names.
pub fn hostile() -> Verdict {
    let process = ProcessRef {
        id: ProcessId { pid: 9, start: 900 },
        ns_pid: 1,
        comm: Comm::new("\x1b]0;x\x07<&\""),
    };
    Verdict {
        subject: Subject {
            pod: Some("uid-2".into()),
            container: Some("c2".into()),
            process: Some(process),
            thread: None,
        },
        details: Details::new(format!("ran {}", Text::new(HOSTILE))),
        ..failed()
    }
}

/// A verdict that could not be decided.
pub fn inconclusive() -> Verdict {
    Verdict {
        outcome: Outcome::Inconclusive,
        details: Details::new("2 Exec events were lost"),
        ..passed()
    }
}

/// The start of a run.
pub fn hello() -> Hello {
    let hook = |hook: &str, how| Hook {
        hook: hook.to_owned(),
        how: Cow::Borrowed(how),
    };
    Hello {
        time: 500_000_000,
        version: "0.1.0".into(),
        kernel: "6.18.5".to_owned(),
        arch: "x86_64".to_owned(),
        hooks: vec![
            hook("sched_process_fork", "tp_btf"),
            hook("setns", "tracepoint"),
            hook("sched_process_exec", "tp_btf"),
            hook("mark_victim", "missing"),
        ],
    }
}

/// The result of a scenario.
pub fn scenario(outcome: Outcome) -> ScenarioResult {
    ScenarioResult {
        time: 1_000_000_000,
        family: "namespaces",
        name: "net-shared",
        title: "containers share the pod's network",
        outcome,
        proof: "net 4026532179".to_owned(),
        reason: if outcome == Outcome::Pass {
            String::new()
        } else {
            "localhost: ECONNREFUSED".to_owned()
        },
        found: Vec::new(),
        duration: 12_000_000,
    }
}

/// The loss of two events.
pub fn loss() -> Loss {
    Loss {
        time: 1_000_000_000,
        kind: Kind::Exec,
        count: 2,
    }
}

/// The result of a run.
pub fn summary() -> Summary {
    let verdicts = Counts {
        pass: 409,
        fail: 2,
        inconclusive: 1,
    };
    Summary {
        time: 12_300_000_000,
        rules: vec![("PT101", verdicts)],
        verdicts,
        excepted: 0,
        scenarios: Counts {
            pass: 30,
            fail: 1,
            inconclusive: 0,
        },
        pods: Some(3),
        events: vec![(Kind::Fork, 20_000), (Kind::Exec, 15_120)],
        lost: vec![(Kind::Exec, 2)],
        duration: 11_800_000_000,
        interrupted: false,
    }
}

/// Sends one of each item to a report.
pub fn send_all(report: &mut dyn Report) -> io::Result<()> {
    let names = names();
    report.hello(&hello())?;
    report.verdict(&passed(), &names)?;
    report.verdict(&failed(), &names)?;
    report.verdict(&hostile(), &names)?;
    report.scenario(&scenario(Outcome::Fail))?;
    report.loss(&loss())?;
    report.verdict(&inconclusive(), &names)?;
    report.scenario(&scenario(Outcome::Pass))?;
    report.summary(&summary())?;
    report.finish()
}
