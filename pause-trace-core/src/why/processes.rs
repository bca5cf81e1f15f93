//! Processes that cannot go on, and those that nobody reaps.

use super::{
    case::{Case, Container, Process},
    cause::{Cause, Reason},
    start::{MAX_SHOWN, described},
};
use crate::verdict::Age;

pub(super) fn reasons(case: &Case, reasons: &mut Vec<Reason>) {
    for container in &case.containers {
        reasons.extend(frozen(container));
        reasons.extend(uninterruptible(container));
        reasons.extend(zombies(case, container));
        for sentence in &container.misfits {
            reasons.push(Reason {
                cause: Cause::WrongNamespace,
                containers: vec![container.title.clone()],
                sentence: sentence.clone(),
                evidence: Vec::new(),
                next: "`pause-trace inspect` shows the namespaces side by side; the container has \
                       to be made again"
                    .to_owned(),
            });
        }
    }
}

/// `1 process`, `3 processes`
pub(super) fn processes(count: u64) -> String {
    match count {
        1 => "1 process".to_owned(),
        _ => format!("{count} processes"),
    }
}

fn frozen(container: &Container) -> Option<Reason> {
    let first = container.processes.first()?;
    if !container.limits.is_frozen {
        return None;
    }
    Some(Reason {
        cause: Cause::Frozen,
        containers: vec![container.title.clone()],
        sentence: format!(
            "the cgroup of {} is frozen: none of its {} runs, and on cgroup v1 not even SIGKILL \
             ends them",
            container.title,
            processes(container.processes.len() as u64)
        ),
        evidence: vec![described(first)],
        next: "`crictl`, `docker` or `podman` `unpause` thaws it; cgroup.freeze (v2) or \
               freezer.state (v1) shows the state"
            .to_owned(),
    })
}

fn uninterruptible(container: &Container) -> Option<Reason> {
    if container.limits.is_frozen {
        return None; // on cgroup v1 they look alike
    }
    let stuck = |process: &&Process| process.state == b'D' && !waits_for_vfork(process);
    let stuck: Vec<_> = container.processes.iter().filter(stuck).collect();
    let first = stuck.first()?;
    let place = first
        .wait
        .as_ref()
        .map_or(String::new(), |wait| format!(" in the kernel's {wait}"));
    Some(Reason {
        cause: Cause::Uninterruptible,
        containers: vec![container.title.clone()],
        sentence: format!(
            "{} (pid {}) of {} is in an uninterruptible sleep{place}: it takes no signal before \
             that returns; SIGKILL ends it earlier only if the sleep is killable",
            first.comm, first.pid, container.title
        ),
        evidence: stuck
            .iter()
            .take(MAX_SHOWN)
            .map(|one| described(one))
            .collect(),
        next: format!(
            "`cat /proc/{}/stack` shows what it waits for: often a disk or a network file system",
            first.pid
        ),
    })
}

/// Whether it waits until the child of its vfork executes or exits.
fn waits_for_vfork(process: &Process) -> bool {
    let wait = process.wait.as_deref().unwrap_or_default();
    wait == "kernel_clone" || wait.contains("vfork")
}

fn zombies(case: &Case, container: &Container) -> Option<Reason> {
    let zombies: Vec<_> = container
        .processes
        .iter()
        .filter(|process| process.is_zombie())
        .collect();
    let first = zombies.first()?;
    let all = || case.containers.iter();
    let parent = all().find_map(|one| {
        let found = one
            .processes
            .iter()
            .find(|other| other.pid == first.parent)?;
        Some((one, found))
    });
    let who = match parent {
        Some((owner, parent)) => {
            format!("{} (pid {}) of {}", parent.comm, parent.pid, owner.title)
        }
        None => format!("pid {}, which is outside the pod,", first.parent),
    };
    let count = zombies.len() as u64;
    let (are, parent_of, them) = match count {
        1 => ("is a zombie", "its parent", "it"),
        _ => ("are zombies", "their parent", "them"),
    };
    Some(Reason {
        cause: Cause::Zombies,
        containers: vec![container.title.clone()],
        sentence: format!(
            "{} of {} {are}: {parent_of} {who} does not reap {them}",
            processes(count),
            container.title
        ),
        evidence: zombies
            .iter()
            .take(MAX_SHOWN)
            .map(|one| {
                format!(
                    "{} (pid {}, started {} ago)",
                    one.comm,
                    one.pid,
                    Age(one.age)
                )
            })
            .collect(),
        next: "the parent has to call wait(2); an init such as tini, or a shared pid namespace, \
               in which the pause reaps, helps if the parent does not"
            .to_owned(),
    })
}
