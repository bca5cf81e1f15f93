//! What the family shares: who has to answer for a zombie, and how to tell of it.
//!
//! One zombie is one finding. Whose it is follows from who has to reap it: the pause (PT402), whoever took over an exec
//! session's orphan (PT404), any other process of the pod (PT401). What waits because its pid namespace is being torn
//! down is PT208's.

use crate::rules::prelude::*;

/// Who has to reap a zombie and has not.
#[derive(Debug)]
pub(super) enum Blame<'a> {
    /// The pause.
    Pause(&'a Process),
    /// A process of the pod to which an exec session's orphan fell.
    Adopter(&'a Process),
    /// Another process of the pod.
    Parent(&'a Process),
    /// The runtime, or whoever is outside the pod.
    Outsider(&'a Process),
    /// It can't be told, because of this.
    Unknown(String),
}

/// A process of a pod that ended and was not reaped in time.
#[derive(Debug)]
pub(super) struct Zombie<'a> {
    pub(super) process: &'a Process,
    pub(super) ended: Ended,
    pub(super) blame: Blame<'a>,
}

/// The zombie that is due, unless it is a setup process of the runtime or another rule's.
pub(super) fn overdue<'a>(context: &Context<'a>, change: &Change) -> Option<Zombie<'a>> {
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
    if let Some(gap) = state.gap(&[Kind::Exit, Kind::Free], ended.time) {
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
        // Whom the runtime started falls to the node's own init when the runtime's process ends first. Nothing is promised
        // of that one.
        let is_runtimes = matches!(process.role, Role::Pause | Role::Init | Role::Session);
        let why = "who has to reap it is not known".to_owned();
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

/// The pod whose life can be summed up.
pub(super) fn removed<'a>(context: &Context<'a>, change: &Change) -> Option<&'a Pod> {
    match change {
        Change::PodRemoved(pod) | Change::RemovalDue(pod) => context.state.pods.get(pod),
        _ => None,
    }
}

/// Whether something that a container's processes have to reap is waiting still.
pub(super) fn is_waited_for(context: &Context<'_>, container: &Container) -> bool {
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
    /// How long it has waited.
    pub(super) fn waited(&self, context: &Context<'_>) -> Duration {
        Duration(context.now.saturating_sub(self.ended.time))
    }

    /// How it came to be one, and how many like it the same process leaves waiting.
    pub(super) fn tell(&self, context: &Context<'_>, message: String) -> Details {
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
        if process.born_of != ProcessId::default() {
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
        details.evidence(
            ended.time,
            format!(
                "{} ended, {}, and pid {} had to reap it",
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
