//! Why a process ended and who sent the signals: what PT2xx and PT3xx share.

use crate::signal::{
    SIGABRT, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGINT, SIGKILL, SIGSEGV, SIGSYS, SIGTERM, SIGTRAP,
};

use crate::{
    rules::{ledger::SUPPRESSED, prelude::*},
    state::{Handlers, Limits, Reason, State, Stop, Worker},
};

mod words;

pub(super) use words::{as_consequence, from, line, oom, why, with_history};

/// The time between the stop signal and SIGKILL. Its key in JSON is `grace_ns`; the grace period
/// that was requested may be another.
pub(super) const AFTER: &str = crate::verdict::KILLED_AFTER;

/// Most processes that one verdict lists.
pub(super) const MAX_LISTED: usize = 8;

/// The sender of a signal, seen from its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    /// The kernel: OOM killer, fault, terminal, the end of a pid namespace.
    Kernel,
    /// A process of the container runtime. All of them count as one sender.
    Runtime,
    /// A process of the same pod.
    Pod,
    /// Any other process, such as one of another pod.
    Foreign,
    /// A process that is perhaps the runtime.
    Unproven,
}

pub(super) fn party(target: &Process, received: &Received) -> Party {
    match received.sender {
        None => Party::Kernel,
        Some(sender) if sender == target.id => Party::Pod,
        Some(_) if received.sender_doubt.is_some() => Party::Unproven,
        Some(_) if received.sender_role == Role::Runtime => Party::Runtime,
        Some(_) if received.sender_pod.is_some() && received.sender_pod == target.pod => Party::Pod,
        Some(_) => Party::Foreign,
    }
}

/// Whether the signal was queued for its target, which then handles it or has it pending.
pub(super) fn was_queued(received: &Received) -> bool {
    received.was_queued()
}

/// Whether the kernel sent this SIGKILL and no record shows why.
pub(super) fn is_unexplained(received: &Received) -> bool {
    received.signal == SIGKILL && received.sender.is_none() && received.reason == Reason::Unseen
}

/// Whether a signal must end a pause.
pub(super) fn is_pause_stop(container: &Container, signal: i32) -> bool {
    signal == SIGTERM || signal == SIGINT || Some(signal) == container.stop_signal
}

/// The stop signals that a container's process got from outside its pod, oldest first. Signals
/// between processes of a pod are not judged.
pub(super) fn stops<'a>(
    process: &'a Process,
    container: &Container,
) -> impl Iterator<Item = &'a Received> {
    let stop_signal = container.stop_signal;
    process.signals.iter().filter(move |received| {
        Some(received.signal) == stop_signal
            && received.signal != SIGKILL
            && is_from_outside(process, received)
    })
}

/// Whether a process outside the pod sent this.
pub(super) fn is_from_outside(process: &Process, received: &Received) -> bool {
    match party(process, received) {
        Party::Runtime | Party::Foreign | Party::Unproven => true,
        Party::Kernel | Party::Pod => false,
    }
}

/// Says that it can't be told how an init took its stop signal, if the runtime sent it a signal and
/// no source says whether that was its stop signal.
pub(super) fn is_stop_unknown(
    context: &Context<'_>,
    init: &Process,
    container: &Container,
    sink: &mut Sink<'_>,
) -> bool {
    if container.stop_signal.is_some() {
        return false;
    }
    let others = init.others.iter().map(|other| &other.last);
    let asked = init
        .signals
        .iter()
        .chain(others)
        .find(|received| received.signal != SIGKILL && party(init, received) == Party::Runtime);
    if let Some(asked) = asked {
        sink.inconclusive(Subject::process(init), || {
            Details::new(format!(
                "init {} (pid {}) received {}, and neither its image nor its runtime says whether \
                 that is its stop signal",
                asked.target_comm,
                init.id.pid,
                from(context, init, asked)
            ))
            .observed("stop signal", Value::Text("unknown".to_owned()))
            .evidence(asked.time, line(context, init, asked))
        });
    }
    true
}

/// The init of a process's container, if no process of the container is left: only then it is known
/// what became of all of them.
pub(super) fn init_of_ended<'a>(
    context: &Context<'a>,
    process: ProcessId,
) -> Option<(&'a Process, Ended, &'a Container)> {
    let (_, container, _) = context.inside(process)?;
    let init = context.state.processes.get(container.init?)?;
    let ended = init
        .ended
        .filter(|_| init.role == Role::Init && container.alive == 0)?;
    Some((init, ended, container))
}

/// `app (pid 815), worker (pid 816)`.
pub(super) fn named(workers: &[&Worker]) -> String {
    let names: Vec<_> = workers
        .iter()
        .take(MAX_LISTED)
        .map(|worker| format!("{} (pid {})", worker.comm, worker.id.pid))
        .collect();
    match workers.len().saturating_sub(MAX_LISTED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Adds the ends of killed processes, and whether they had a handler for the signal, as evidence.
pub(super) fn with_workers(workers: &[&Worker], signal: i32, details: Details) -> Details {
    let name = signal_name(signal);
    let listed = workers.iter().take(MAX_LISTED);
    listed.fold(details, |details, worker| {
        let handler = match worker.handlers {
            None => "whether it had a handler was not recorded",
            Some(known) if Handlers::has(known.own, signal) => "it had a handler of its own",
            Some(known) if Handlers::has(known.caught, signal) => "it had inherited a handler",
            Some(_) => "it had no handler",
        };
        let what = format!(
            "{} (pid {}) was killed by SIGKILL before it received {name}, for which {handler}",
            worker.comm, worker.id.pid
        );
        details.evidence(worker.ended, what)
    })
}

/// The signal that killed a process, if one did and it was recorded.
pub(super) fn fatal(process: &Process) -> Option<&Received> {
    process.fatal()
}

/// The orderly stop that a container is in: its own, else its pod's.
pub(super) fn stopping(container: &Container, pod: &Pod) -> Option<Stop> {
    container.stopping.or(pod.stopping)
}

/// The grace period of a container: that of the stop that it is in, else the one that it was
/// created with.
pub(super) fn grace(container: &Container, pod: &Pod) -> Option<Grace> {
    let of_stop = stopping(container, pod).map(|stop| Grace {
        period: stop.grace,
        source: GraceSource::Stop,
    });
    of_stop.or(container.grace)
}

/// Why a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause<'a> {
    /// The OOM killer killed it.
    Oom,
    /// This signal killed it; with the sender, if that was recorded.
    Killed(i32, Option<&'a Received>),
    /// It crashed with this signal.
    Crashed(i32),
    /// It exited after a stop signal.
    Stopped(&'a Received),
    /// It ended because of a signal that must not end it.
    Fragile(&'a Received),
    /// It exited without a stop signal.
    Exited,
}

/// Why a pause ended; `None` while it lives.
pub(super) fn cause<'a>(
    pause: &'a Process,
    container: &Container,
    limits: &Limits,
) -> Option<Cause<'a>> {
    let ended = pause.ended?;
    if let Some(signal) = ended.status.signal() {
        let by = fatal(pause);
        let is_own = by.is_none_or(|by| by.sender.is_none_or(|sender| sender == pause.id));
        return Some(match signal {
            SIGKILL if pause.is_oom_killed() => Cause::Oom,
            SIGKILL => Cause::Killed(signal, by),
            SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGTRAP | SIGSYS | SIGABRT if is_own => {
                Cause::Crashed(signal)
            }
            _ if is_pause_stop(container, signal) => Cause::Killed(signal, by),
            _ => by.map_or(Cause::Killed(signal, by), Cause::Fragile),
        });
    }
    if let Some(stop) = pause_stop(pause, container) {
        return Some(Cause::Stopped(stop));
    }
    // A shell ends when its last child has.
    let is_own_childs = |received: &Received| received.signal == SIGCHLD && pause.has_forked;
    let at_once = |received: &&Received| {
        received.signal != SIGKILL
            && !is_own_childs(received)
            && was_queued(received)
            && ended
                .time
                .saturating_sub(received.handled.unwrap_or(received.time))
                <= limits.reaction
    };
    let others = pause.others.iter().map(|other| &other.last);
    let last = pause
        .signals
        .iter()
        .chain(others)
        .filter(at_once)
        .max_by_key(|received| received.handled.unwrap_or(received.time));
    Some(last.map_or(Cause::Exited, Cause::Fragile))
}

/// The first stop signal that was queued for a pause.
pub(super) fn pause_stop<'a>(pause: &'a Process, container: &Container) -> Option<&'a Received> {
    pause
        .signals
        .iter()
        .find(|received| is_pause_stop(container, received.signal) && was_queued(received))
}

/// Whether a pause is being stopped, or was when it ended: its pod is, or the runtime sent the
/// pause a stop signal or SIGKILL.
pub(super) fn is_being_stopped(pause: &Process, container: &Container, pod: &Pod) -> bool {
    let in_time = |time: Ktime| pause.ended.is_none_or(|ended| time <= ended.time);
    let is_stop = |received: &Received| {
        (is_pause_stop(container, received.signal) || received.signal == SIGKILL)
            && party(pause, received) == Party::Runtime
            && was_queued(received)
            && in_time(received.time)
    };
    stopping(container, pod).is_some()
        || pod.removed.is_some_and(in_time)
        || pause.signals.iter().any(is_stop)
}

/// The sandbox that a container was created for. If no source reported it, the newest sandbox at
/// the time when the container was declared, or started if it was declared later.
pub(super) fn sandbox_for<'a>(
    state: &'a State,
    container: &Container,
    pod: &Pod,
) -> Option<&'a Container> {
    if let Some(sandbox) = named_sandbox(container, pod).and_then(|id| state.containers.get(id)) {
        return Some(sandbox);
    }
    let since = |container: &Container| {
        container
            .started
            .map_or(container.declared, |at| at.min(container.declared))
    };
    let sandboxes = || {
        pod.sandboxes
            .iter()
            .filter_map(|id| state.containers.get(id))
    };
    let before = |sandbox: &&Container| since(sandbox) <= since(container);
    sandboxes()
        .filter(before)
        .max_by_key(|sandbox| since(sandbox))
        .or_else(|| sandboxes().next())
}

/// The sandbox that a source reported for a container.
fn named_sandbox<'a>(container: &'a Container, pod: &Pod) -> Option<&'a ContainerId> {
    let named = container.sandbox.as_ref();
    named.filter(|id| pod.sandboxes.contains(id))
}

/// Since when records can be lost that tell in which namespaces a container must be. If there are
/// several sandboxes, and no source reported which one is its, the start of one may be among them.
pub(super) fn placed_since(container: &Container, pod: &Pod) -> Ktime {
    match named_sandbox(container, pod) {
        None if pod.sandboxes.len() > 1 => pod.since,
        _ => container.since,
    }
}

/// The running containers of a sandbox, whose entrypoints have executed and not ended, with these.
pub(super) fn running<'a>(
    state: &'a State,
    sandbox: &'a Container,
    pod: &'a Pod,
) -> impl Iterator<Item = (&'a Container, &'a Process)> {
    let containers = pod
        .containers
        .iter()
        .filter_map(|id| state.containers.get(id));
    containers.filter_map(move |container| {
        let init = state.processes.get(container.init?)?;
        let is_its = sandbox_for(state, container, pod).is_some_and(|its| its.id == sandbox.id);
        (init.is_alive() && is_its).then_some((container, init))
    })
}

/// The containers of a sandbox that were running when its pause ended, with their entrypoints.
pub(super) fn outlasting<'a>(
    state: &'a State,
    sandbox: &'a Container,
    pod: &'a Pod,
    ended: Ktime,
) -> impl Iterator<Item = (&'a Container, &'a Process)> {
    let containers = pod.containers.iter();
    let containers = containers.filter_map(|id| state.containers.get(id));
    containers.filter_map(move |container| {
        let init = state.processes.get(container.init?)?;
        let is_its = sandbox_for(state, container, pod).is_some_and(|its| its.id == sandbox.id);
        let was_running = container.started.is_some_and(|started| started <= ended)
            && (init.is_alive() || container.ended.is_some_and(|end| end.time > ended));
        (is_its && was_running).then_some((container, init))
    })
}

/// The pause of a container whose entrypoint is judged late, and that ended while the container
/// ran: when it ended, nobody knew of the container.
pub(super) fn ended_unknown_to<'a>(
    context: &Context<'a>,
    entrypoint: ProcessId,
) -> Option<(&'a Process, &'a Container, &'a Pod)> {
    let (init, container, pod) = context.inside(entrypoint)?;
    let sandbox = sandbox_for(context.state, container, pod)?;
    let pause = context.state.processes.get(sandbox.init?)?;
    let ended = pause.ended?.time;
    let is_before = init.role == Role::Init && container.started? <= ended;
    is_before.then_some((pause, sandbox, pod))
}

/// The sandboxes whose pauses ended so recently that their runtime may still tell the containers of
/// the pod to stop.
pub(super) fn recently_ended<'a>(
    context: &'a Context<'_>,
    pod: &'a Pod,
) -> impl Iterator<Item = &'a Container> {
    let sandboxes = pod.sandboxes.iter();
    let sandboxes = sandboxes.filter_map(|id| context.state.containers.get(id));
    sandboxes.filter(|sandbox| has_recently_ended(context, sandbox))
}

/// Whether the pause of a sandbox ended so recently that its runtime may still tell the containers
/// of the pod to stop.
pub(super) fn has_recently_ended(context: &Context<'_>, sandbox: &Container) -> bool {
    sandbox.stops_until > Some(context.now)
}

/// Why nothing is known yet of how the runtime stops the containers of a sandbox whose pause ended,
/// if the watch ends before it had the time to.
pub(super) fn ended_early(
    context: &Context<'_>,
    change: &Change,
    sandbox: &Container,
) -> Option<String> {
    let is_early = matches!(change, Change::PauseEndDue(_)) && has_recently_ended(context, sandbox);
    is_early.then(|| {
        "the watch ended before the runtime had had the time to tell the containers of the pod to \
         stop"
            .to_owned()
    })
}

/// Whether the runtime stops a container together with its pause, which ended at this time: see
/// [`tellings`].
pub(super) fn is_told_to_stop(
    context: &Context<'_>,
    (container, init): (&Container, &Process),
    ended: Ktime,
) -> bool {
    tellings(context, (container, init), ended)
        .any(|received| party(init, received) == Party::Runtime)
}

/// What tells an init to stop together with its pause, which ended at this time, if it is from the
/// runtime: its stop signal or SIGKILL, sent shortly before or since then. The init may ignore it.
pub(super) fn tellings<'a>(
    context: &Context<'_>,
    (container, init): (&'a Container, &'a Process),
    ended: Ktime,
) -> impl Iterator<Item = &'a Received> {
    let limit = context.state.limits.stop;
    let is_kill = |received: &&Received| received.signal == SIGKILL;
    // Its stop signal was not known yet.
    let early = init.others.iter().map(|other| &other.last);
    let early = early.filter(|early| Some(early.signal) == container.stop_signal);
    let stops = stops(init, container).chain(early);
    let tellings = stops.chain(init.signals.iter().filter(is_kill));
    tellings.filter(move |received| received.time.saturating_add(limit) >= ended)
}

/// Fails if no record that the rule needs was lost since then; otherwise the verdict is
/// inconclusive. For violations that follow from the *absence* of a record.
pub(super) fn fail_unless_gap(
    context: &Context<'_>,
    since: Ktime,
    sink: &mut Sink<'_>,
    subject: Subject,
    details: impl FnOnce() -> Details,
) {
    fail_unless_gap_of(context, sink.needs(), since, sink, subject, details);
}

/// The same for records of these kinds, where a failure rests on others than a pass.
pub(super) fn fail_unless_gap_of(
    context: &Context<'_>,
    kinds: &[Kind],
    since: Ktime,
    sink: &mut Sink<'_>,
    subject: Subject,
    details: impl FnOnce() -> Details,
) {
    let flooded = || {
        let container = context.state.containers.get(subject.container.as_ref()?)?;
        let is_about_signals =
            kinds.contains(&Kind::SignalGenerate) || kinds.contains(&Kind::SignalDeliver);
        (is_about_signals && container.flooded? >= since)
            .then(|| "too many signals to the container were sent to record each one".to_owned())
    };
    let suppressed = || {
        let pod = subject.pod.as_ref()?;
        let is_missing = context.state.has_suppressed(pod, since);
        is_missing.then(|| SUPPRESSED.to_owned())
    };
    let gap = |kinds: &[Kind]| context.state.gap(kinds, since);
    let gap = gap(kinds).or_else(|| gap(&[Kind::Watch]));
    match gap.or_else(flooded).or_else(suppressed) {
        None => sink.fail(subject, details),
        Some(why) => doubt(why, sink, subject, details),
    }
}

/// Fails if the senders of these signals are known; otherwise one may be the runtime, and the
/// verdict is inconclusive.
pub(super) fn fail_if_proven<'a>(
    context: &Context<'_>,
    signals: impl IntoIterator<Item = &'a Received>,
    (kinds, since): (&[Kind], Ktime),
    sink: &mut Sink<'_>,
    subject: Subject,
    details: impl FnOnce() -> Details,
) {
    let unproven = signals.into_iter().find_map(|received| {
        let (why, sender) = (received.sender_doubt?.why(), received.sender?);
        let (comm, pid) = (received.sender_comm, sender.pid);
        Some(format!(
            "{comm} (pid {pid}) is perhaps the runtime, because {why}"
        ))
    });
    match unproven {
        None => fail_unless_gap_of(context, kinds, since, sink, subject, details),
        Some(why) => doubt(why, sink, subject, details),
    }
}

/// Says what was found, and why it may be wrong.
pub(super) fn doubt(
    why: String,
    sink: &mut Sink<'_>,
    subject: Subject,
    details: impl FnOnce() -> Details,
) {
    sink.inconclusive(subject, || {
        let details = details();
        Details {
            message: format!("{why}, so this may be wrong: {}", details.message),
            ..details
        }
    });
}

#[cfg(test)]
mod tests;
