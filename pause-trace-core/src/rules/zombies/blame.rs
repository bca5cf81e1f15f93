//! What the family shares: the process to blame for a zombie, and the details of the finding.
//!
//! Each zombie is reported by one rule, depending on the process that must reap it: the pause
//! (PT402), a process to which an exec session's orphan was reparented (PT404), or any other
//! process of the pod (PT401). PT208 reports zombies of a pid namespace that is being torn down.

use crate::rules::prelude::*;

/// The process that must reap a zombie and has not.
#[derive(Debug)]
pub(super) enum Blame<'a> {
    /// The pause.
    Pause(&'a Process),
    /// A process of the pod to which an exec session's orphan was reparented.
    Adopter(&'a Process),
    /// Another process of the pod.
    Parent(&'a Process),
    /// The runtime, or another process outside the pod.
    Outsider(&'a Process),
    /// Unknown, for this reason.
    Unknown(String),
}

/// A process of a pod that ended and was not reaped in time.
#[derive(Debug)]
pub(super) struct Zombie<'a> {
    pub(super) process: &'a Process,
    pub(super) ended: Ended,
    pub(super) blame: Blame<'a>,
}

/// The overdue zombie of a change, unless it is a setup process of the runtime or left to PT208.
pub(super) fn overdue<'a>(
    context: &Context<'a>,
    needs: &[Kind],
    change: &Change,
) -> Option<Zombie<'a>> {
    let Change::ZombieDue(id) = change else {
        return None;
    };
    let state = context.state;
    let (process, _, _) = context.inside(*id)?;
    let ended = process.ended.filter(|_| process.role.is_inside())?;
    let zombie = |blame| {
        Some(Zombie {
            process,
            ended,
            blame,
        })
    };
    if let Some(gap) = state.gap(needs, ended.time) {
        return zombie(Blame::Unknown(gap));
    }
    let pid_namespace = process.namespaces.pid;
    if process.namespaces.pid_level > 0
        && let Some(init) = state.init_of(pid_namespace)
        && !init.is_alive()
        && (init.id != *id || state.members_of(pid_namespace) > 1)
    {
        return None;
    }
    let Some(parent) = state
        .processes
        .get(process.parent)
        .filter(|parent| parent.is_alive())
    else {
        // A process that the runtime started is reparented to the node's init if the runtime's
        // process ends first. No rule covers the node's init.
        let is_runtimes = matches!(process.role, Role::Pause | Role::Init | Role::Session);
        let why = "the process that must reap it is unknown".to_owned();
        return (!is_runtimes).then(|| zombie(Blame::Unknown(why)))?;
    };
    zombie(match parent.role {
        Role::Pause => Blame::Pause(parent),
        Role::Runtime | Role::Stranger => Blame::Outsider(parent),
        Role::Init | Role::Session | Role::Member => {
            if process.session.is_some() && process.session != parent.session {
                Blame::Adopter(parent)
            } else {
                Blame::Parent(parent)
            }
        }
    })
}

/// The removed pod of a change, for which passes can be given.
pub(super) fn removed<'a>(context: &Context<'a>, change: &Change) -> Option<&'a Pod> {
    match change {
        Change::PodRemoved(pod) | Change::RemovalDue(pod) => context.state.pods.get(pod),
        _ => None,
    }
}

/// Whether a zombie remains that a process of the container must reap.
pub(super) fn has_zombies(context: &Context<'_>, container: &Container) -> bool {
    let processes = &context.state.processes;
    processes
        .iter()
        .filter(|process| process.is_zombie() && process.role.is_inside())
        .any(|zombie| {
            let parent = processes.get(zombie.parent);
            parent.is_some_and(|parent| parent.container.as_ref() == Some(&container.id))
        })
}

/// `sleep (pid 812)`.
pub(super) fn name(process: &Process) -> String {
    format!("{} (pid {})", process.comm, process.id.pid)
}

impl Zombie<'_> {
    /// The time since it ended.
    pub(super) fn waited(&self, context: &Context<'_>) -> Duration {
        Duration(context.now.saturating_sub(self.ended.time))
    }

    /// How long ago it ended: `5.00 s ago`. Of a zombie that was found, only limits are known: it
    /// had ended by then, and it cannot have ended before it started.
    pub(super) fn ago(&self, context: &Context<'_>) -> String {
        let waited = self.waited(context);
        match self.process.ended_unseen() {
            false => format!("{waited} ago"),
            true => {
                let age = Duration(context.now.saturating_sub(self.process.forked));
                format!("at least {waited} ago (it started {age} ago)")
            }
        }
    }

    /// The details of a finding: how the process became a zombie, and how many zombies its parent
    /// has.
    pub(super) fn details(&self, context: &Context<'_>, message: String) -> Details {
        let Self { process, ended, .. } = self;
        let processes = &context.state.processes;
        let waiting = processes
            .children(process.parent)
            .filter(|child| child.is_zombie())
            .count();
        let mut details = Details::new(message)
            .expected(
                "reaped within",
                Value::Duration(context.state.limits.zombie),
            )
            .observed("unreaped for", Value::Duration(self.waited(context).0))
            .observed("zombies of this parent", Value::Number(waiting as u64));
        if process.found {
            let what = format!("{} started", name(process));
            details = details.evidence(process.forked, what);
        } else if process.born_of != ProcessId::default() {
            let by = match processes.get(process.born_of) {
                Some(parent) => name(parent),
                None => format!("pid {}", process.born_of.pid),
            };
            details = details.evidence(
                process.forked,
                format!("{by} forked pid {}", process.id.pid),
            );
        }
        if let Some(parent) = processes.get(process.born_of)
            && let Some(left) = parent.ended
        {
            details = details.evidence(
                left.time,
                format!("{} ended, {}", name(parent), left.status),
            );
        }
        let ended_at = match process.ended_unseen() {
            true => "was found as a zombie",
            false => "ended",
        };
        details.evidence(
            ended.time,
            format!(
                "{} {ended_at}, {}, and pid {} had to reap it",
                name(process),
                ended.status,
                process.parent.pid
            ),
        )
    }
}

/// `orphans reaped: 3, the slowest after 1.2 ms`.
pub(super) fn proof(what: &str, reaps: Reaps) -> Details {
    let Reaps { count, slowest } = reaps;
    Details::new(format!(
        "{what} reaped: {count}, the slowest after {}",
        Duration(slowest)
    ))
    .observed("reaped", Value::Number(count))
    .observed("slowest", Value::Duration(slowest))
}
