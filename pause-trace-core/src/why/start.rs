//! Starts and removals that take long, and sandboxes without a pause or a container.

use super::{
    case::{Case, Container, Process, Run, Step, Work, WorkKind},
    cause::{Cause, Reason},
};
use crate::{event::Ktime, verdict::Age};

/// A part of a start or of a removal that takes longer is a reason.
const SLOW: Ktime = 1_000_000_000;

/// A sandbox without a container is usual for a short time: the kubelet pulls the images.
const EMPTY: Ktime = 10_000_000_000;

/// A kubelet starts a container right after it has been created.
const NOT_STARTED: Ktime = 5_000_000_000;

pub(super) fn reasons(case: &Case, reasons: &mut Vec<Reason>) {
    for work in &case.work {
        reasons.extend(slow(work));
    }
    reasons.extend(pause_ended(case));
    for container in &case.containers {
        if let Run::Created { age } = container.run
            && age > NOT_STARTED
            && !case.work.iter().any(|work| work.kind.is_start())
        {
            reasons.push(Reason {
                cause: Cause::NotStarted,
                containers: vec![container.title.clone()],
                sentence: format!(
                    "{} was created {} ago and has not been started",
                    container.title,
                    Age(age)
                ),
                evidence: Vec::new(),
                next: "the kubelet has not asked the runtime to start it: see the kubelet's log"
                    .to_owned(),
            });
        }
    }
    reasons.extend(no_container(case));
    if is_unexplained(case) {
        reasons.extend(only_pause(case));
    }
}

/// A program of the runtime that has not ended.
fn slow(work: &Work) -> Option<Reason> {
    let first = work.chain.first()?;
    let age = first.process.age;
    let cause = match (work.kind.is_start(), work.kind.is_removal()) {
        (true, _) => Cause::StartSlow,
        (_, true) => Cause::RemovalSlow,
        _ => return None,
    };
    if age < SLOW {
        return None;
    }
    let for_container = work
        .container
        .as_ref()
        .map_or(String::new(), |container| format!(" for {container}"));
    let what = match &work.kind {
        WorkKind::Plugin { command, interface } if interface.is_empty() => {
            format!("the CNI plugin {} ({})", first.process.comm, command.name())
        }
        WorkKind::Plugin { command, interface } => format!(
            "the CNI plugin {} ({} {interface})",
            first.process.comm,
            command.name()
        ),
        WorkKind::Oci { command } => {
            format!("`{} {}`{for_container}", first.process.comm, command.name())
        }
        WorkKind::Init => format!("the process that {} will run in", words(work)),
        WorkKind::Monitor => return None,
    };
    let last = work.chain.last().unwrap_or(first);
    let waits = match work.chain.len() {
        1 => String::new(),
        _ => format!(
            "; it waits for {} (pid {}), which has run for {}",
            last.process.comm,
            last.process.pid,
            Age(last.process.age)
        ),
    };
    let verb = match work.kind {
        WorkKind::Init => "has not executed the entrypoint for",
        _ => "has run for",
    };
    Some(Reason {
        cause,
        containers: work.container.iter().cloned().collect(),
        sentence: format!("{what} {verb} {}{waits}", Age(age)),
        evidence: work.chain.iter().map(step).collect(),
        next: match work.kind {
            WorkKind::Plugin { .. } => format!(
                "the plugin's own log, and `cat /proc/{}/stack` for what it waits for",
                last.process.pid
            ),
            _ => format!(
                "`cat /proc/{0}/stack` and `ls -l /proc/{0}/fd` for what it waits for; a hook is \
                 listed in the bundle's config.json",
                last.process.pid
            ),
        },
    })
}

fn words(work: &Work) -> &str {
    work.container.as_deref().unwrap_or("a container")
}

fn step(step: &Step) -> String {
    let command = match step.command.is_empty() {
        true => String::new(),
        false => format!(": {}", step.command),
    };
    format!("{}{command}", described(&step.process))
}

/// `sleep (pid 12, state S in hrtimer_nanosleep, 3.0 s)`
pub(super) fn described(process: &Process) -> String {
    let wait = process
        .wait
        .as_ref()
        .map_or(String::new(), |wait| format!(" in {wait}"));
    format!(
        "{} (pid {}, state {}{wait}, started {} ago)",
        process.comm,
        process.pid,
        char::from(process.state),
        Age(process.age)
    )
}

/// The pause ended, and containers of its pod run.
fn pause_ended(case: &Case) -> Option<Reason> {
    let left: Vec<_> = case.alive().filter(|one| !one.is_sandbox()).collect();
    let first = left.first()?;
    if case.alive().any(Container::is_sandbox) {
        return None;
    }
    // Without an answer of the runtime, it may be one that has no sandbox.
    let sandbox = case.sandboxes.first()?;
    let names: Vec<_> = left.iter().map(|one| one.title.as_str()).collect();
    let how = match sandbox.is_ready {
        true => "the runtime still calls the sandbox ready",
        false => "the runtime calls the sandbox not ready",
    };
    let processes = left.iter().flat_map(|one| &one.processes);
    Some(Reason {
        cause: Cause::PauseEnded,
        containers: Vec::new(),
        sentence: format!(
            "the pause process has ended while {} runs: {how}, and the kubelet will stop the \
             containers and make a new sandbox (\"pod sandbox changed\")",
            listed(&names)
        ),
        evidence: processes.take(MAX_SHOWN).map(described).collect(),
        next: format!(
            "`pause-trace watch` names who ends a pause; `journalctl -k` shows kills of the OOM \
             killer; {} keeps its old namespaces until it is stopped",
            first.title
        ),
    })
}

/// Evidence lines of one reason.
pub(super) const MAX_SHOWN: usize = 8;

/// `a, b and 3 more`
pub(super) fn listed(names: &[&str]) -> String {
    const NAMED: usize = 4;
    match names.len() {
        0..=NAMED => names.join(", "),
        count => format!("{} and {} more", names[..NAMED].join(", "), count - NAMED),
    }
}

/// A runtime starts the first container of a pod sooner after the pause, unless it pulls an image.
const ALONE: Ktime = 3_000_000_000;

/// Whether only the pause has processes, for more than a moment, and no runtime lists the pod.
pub(super) fn is_unexplained(case: &Case) -> bool {
    let mut alive = case.alive();
    let first = alive.next().filter(|one| one.is_sandbox());
    let age = first.and_then(|pause| match pause.run {
        Run::Running { age } => Some(age),
        _ => None,
    });
    case.sandboxes.is_empty()
        && case.work.iter().all(|work| !work.kind.is_start())
        && alive.next().is_none()
        && age.is_some_and(|age| age > ALONE)
}

fn only_pause(case: &Case) -> Option<Reason> {
    let pause = case.alive().next()?;
    let Run::Running { age } = pause.run else {
        return None;
    };
    Some(Reason {
        cause: Cause::OnlyPause,
        containers: Vec::new(),
        sentence: format!(
            "only the pause runs, for {}: either no container was started, or all have ended; no \
             runtime says which",
            Age(age)
        ),
        evidence: pause
            .processes
            .iter()
            .take(MAX_SHOWN)
            .map(described)
            .collect(),
        next: "`podman ps --all` or `docker ps --all` lists ended containers; `--cri` names the \
               socket of a runtime that is not at its usual place"
            .to_owned(),
    })
}

/// The sandbox runs, and no container was ever created in it.
fn no_container(case: &Case) -> Option<Reason> {
    let sandbox = case.sandboxes.first()?;
    let has_member = case.containers.iter().any(|one| !one.is_sandbox());
    if has_member || !sandbox.is_ready || sandbox.age < EMPTY || !case.work.is_empty() {
        return None;
    }
    Some(Reason {
        cause: Cause::NoContainer,
        containers: Vec::new(),
        sentence: format!(
            "the sandbox has been ready for {}, and no container was created in it",
            Age(sandbox.age)
        ),
        evidence: Vec::new(),
        next: "the kubelet pulls an image or waits for a volume, a secret or a config map: \
               `kubectl describe pod` shows its events"
            .to_owned(),
    })
}
