//! What the rules of this family share: which namespace a process must be in, what a call changed, and how to say so.
//!
//! Any one fault is reported as an error by one of them alone:
//!
//! - a container's entrypoint in another net, ipc, uts or pid namespace than was asked for, the host's included: PT101 to
//!   PT104; in another user namespace: PT106; in a mount namespace that is not its alone: PT107;
//! - a *sandbox* in the host's net, ipc or uts namespace: PT105, and in the host's pid namespace: PT104. Its containers then
//!   share what it has; that is inconclusive, not another failure;
//! - a container in the host's where its sandbox is unknown, so that PT101 to PT104 can't compare: PT105;
//! - an exec session: PT112; whatever a process does after its first exec: PT108 and PT109.
//!
//! What a container has is compared with the sandbox that it was made for. Whether that one still counts is for PT203.

use crate::rules::{ending, prelude::*};

/// Where the expected namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// This one, held by whom it says.
    Inode(u32, String),
    /// One of its own: nobody else's.
    Own,
    /// It can't be told, because of this.
    Unknown(String),
}

/// What was asked for: "the pod's" is the node's where the pod has the node's.
pub(super) fn mode<'a>(container: &'a Container, pod: &'a Pod, kind: NamespaceKind) -> &'a Mode {
    match container.modes.get(kind) {
        _ if container.what == ContainerKind::Sandbox => pod.modes.get(kind),
        Mode::Pod => match pod.modes.get(kind) {
            Mode::Node => &Mode::Node,
            _ => &Mode::Pod,
        },
        asked => asked,
    }
}

/// The namespace that a container's process must be in for what was asked.
pub(super) fn expected(
    context: &Context<'_>,
    container: &Container,
    pod: &Pod,
    kind: NamespaceKind,
) -> Expected {
    match mode(container, pod, kind) {
        Mode::Node => match context.state.host_of(container).get(kind) {
            0 => Expected::Unknown("the host's namespaces are not known".to_owned()),
            inode => Expected::Inode(inode, "the host's".to_owned()),
        },
        Mode::Unknown => Expected::Unknown("what was asked for is not known".to_owned()),
        Mode::Container => Expected::Own,
        Mode::Target(target) => match context
            .state
            .containers
            .get(target)
            .and_then(|target| target.namespaces)
        {
            Some(namespaces) => Expected::Inode(
                namespaces.get(kind),
                format!("of the target {}", context.container_name(target)),
            ),
            None => Expected::Unknown("the target's namespaces are not known".to_owned()),
        },
        Mode::Pod if container.what == ContainerKind::Sandbox => Expected::Own,
        Mode::Pod => {
            let Some((sandbox, namespaces)) = ending::sandbox_for(context.state, container, pod)
                .and_then(|sandbox| Some((sandbox, sandbox.namespaces?)))
            else {
                return Expected::Unknown("the sandbox's namespaces are not known".to_owned());
            };
            if container
                .started
                .is_some_and(|started| sandbox.started > Some(started))
            {
                return Expected::Unknown("it ran before its sandbox (see PT201)".to_owned());
            }
            match (sandbox.init, namespaces.get(kind)) {
                (Some(pause), inode) => {
                    Expected::Inode(inode, format!("of the pause, pid {}", pause.pid))
                }
                (None, 0) => Expected::Unknown("the sandbox pins none".to_owned()),
                (None, inode) => Expected::Inode(inode, "pinned for the sandbox".to_owned()),
            }
        }
    }
}

/// A process at its first exec inside a container: later ones are made in namespaces that it chose itself.
pub(super) fn first_exec<'a>(
    context: &Context<'a>,
    process: ProcessId,
    role: Role,
) -> Option<(&'a Process, &'a Container, &'a Pod)> {
    context
        .inside(process)
        .filter(|(process, ..)| process.role == role && process.execs == 1)
}

/// Judges the namespaces of one kind that containers' entrypoints executed in first. The pause is the reference, and not
/// judged here. What a container is compared with may become known after it: then, not at its own exec, it is judged.
pub(super) fn judge(
    context: &Context<'_>,
    change: &Change,
    kind: NamespaceKind,
    sink: &mut Sink<'_>,
) {
    match change {
        Change::Executed(id) => {
            let first = first_exec(context, *id, Role::Init);
            if let Some((_, container, pod)) = first {
                judge_container(context, container, pod, kind, false, sink);
            }
            let Some((_, known, pod)) = first.or_else(|| first_exec(context, *id, Role::Pause))
            else {
                return;
            };
            let containers = pod
                .containers
                .iter()
                .filter_map(|id| context.state.containers.get(id));
            for container in containers.filter(|container| container.id != known.id) {
                if container.started >= known.started
                    && is_measured_by(context, container, pod, kind, known)
                {
                    judge_container(context, container, pod, kind, true, sink);
                }
            }
        }
        Change::Ended(id) => {
            let Some((process, container, pod)) = context.inside(*id) else {
                return;
            };
            if process.role == Role::Init
                && let Expected::Unknown(why) = expected(context, container, pod, kind)
            {
                let (name, observed) = (kind.name(), process.namespaces.get(kind));
                sink.inconclusive(Subject::process(process), || {
                    Details::new(why).observed(name, Value::Namespace(observed))
                });
            }
        }
        _ => {}
    }
}

/// Whether a container's namespace of this kind is to be the one of that other container, or sandbox.
fn is_measured_by(
    context: &Context<'_>,
    container: &Container,
    pod: &Pod,
    kind: NamespaceKind,
    other: &Container,
) -> bool {
    match mode(container, pod, kind) {
        Mode::Pod => ending::sandbox_for(context.state, container, pod)
            .is_some_and(|sandbox| sandbox.id == other.id),
        Mode::Target(target) => *target == other.id,
        Mode::Container | Mode::Node | Mode::Unknown => false,
    }
}

fn judge_container(
    context: &Context<'_>,
    container: &Container,
    pod: &Pod,
    kind: NamespaceKind,
    is_late: bool,
    sink: &mut Sink<'_>,
) {
    let init = container
        .init
        .and_then(|init| context.state.processes.get(init));
    let (Some(process), Some(namespaces)) = (init, container.namespaces) else {
        return;
    };
    let (name, observed) = (kind.name(), namespaces.get(kind));
    let subject = || Subject::process(process);
    let is_shared = *mode(container, pod, kind) == Mode::Pod;
    let is_hosts = is_shared && is_hosts(context, container, kind, observed);
    match expected(context, container, pod, kind) {
        Expected::Inode(inode, whose) if inode == observed && is_hosts => {
            sink.inconclusive(subject(), || {
                Details::new(format!(
                    "{name} {observed} is the one {whose}, but that is the host's (see PT104 to PT106)"
                ))
            });
        }
        Expected::Inode(inode, whose) if inode == observed => sink.pass(subject(), || {
            Details::new(format!("{name} {observed} is the one {whose}"))
                .observed(name, Value::Namespace(observed))
                .with_exec(context, process, kind, observed)
        }),
        // It needed no comparison: PT105 has said so when it executed.
        Expected::Inode(..) if is_hosts && is_late && kind != NamespaceKind::User => {}
        Expected::Inode(inode, whose) => fail(context, process, container, None, sink, || {
            let holder = holder(context, container, kind, observed);
            let theirs = holder
                .map(|holder| format!(" ({})", holder.whose))
                .unwrap_or_default();
            let comm = process.comm;
            Details::new(format!(
                "{comm} executed in {name} {observed}{theirs} instead of {inode}, {whose}"
            ))
            .expected(name, Value::Namespace(inode))
            .observed(name, Value::Namespace(observed))
            .with_exec(context, process, kind, observed)
        }),
        // PT104 looks at who is pid 1, too.
        Expected::Own if kind == NamespaceKind::Pid => {}
        Expected::Own => match holder(context, container, kind, observed) {
            None => sink.pass(subject(), || {
                Details::new(format!("{name} {observed} is its own"))
                    .observed(name, Value::Namespace(observed))
                    .with_exec(context, process, kind, observed)
            }),
            Some(Holder { whose, since }) => fail(context, process, container, since, sink, || {
                let comm = process.comm;
                Details::new(format!(
                    "{comm} executed in {name} {observed}, {whose}, instead of one of its own"
                ))
                .expected(name, Value::Text("one of its own".to_owned()))
                .observed(name, Value::Namespace(observed))
                .with_exec(context, process, kind, observed)
            }),
        },
        // It may become known yet; at the container's end at the latest it is said.
        Expected::Unknown(_) => {}
    }
}

/// Says that a process' first exec was in a wrong namespace; where the real first exec may have been missed, or the end of
/// who is said to have the namespace since then, it can't be said.
pub(super) fn fail(
    context: &Context<'_>,
    process: &Process,
    container: &Container,
    held_since: Option<Ktime>,
    sink: &mut Sink<'_>,
    details: impl FnOnce() -> Details,
) {
    let made = container.declared.min(process.forked);
    let (kinds, since) = match held_since {
        Some(held) => (
            &[Kind::Exec, Kind::Fork, Kind::CgroupAttach, Kind::Exit][..],
            made.min(held),
        ),
        None => (&[Kind::Exec, Kind::Fork, Kind::CgroupAttach][..], made),
    };
    ending::fail_if_seen(
        context,
        (kinds, since),
        sink,
        Subject::process(process),
        details,
    );
}

impl Details {
    /// The exec that put a process into a namespace, as evidence.
    pub(super) fn with_exec(
        self,
        context: &Context<'_>,
        process: &Process,
        kind: NamespaceKind,
        inode: u32,
    ) -> Self {
        let (name, pid) = (kind.name(), process.id.pid);
        let what = format!(
            "pid {pid} executed {} in {name} {inode}",
            process.executable()
        );
        self.evidence(process.executed.unwrap_or(context.now), what)
    }
}

/// Whether a namespace is known to be what is the host's to a container.
pub(super) fn is_hosts(
    context: &Context<'_>,
    container: &Container,
    kind: NamespaceKind,
    inode: u32,
) -> bool {
    inode != 0 && inode == context.state.host_of(container).get(kind)
}

/// Who has a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) whose: String,
    /// Since when a process has lived of which this is said; `None` for the host.
    pub(super) since: Option<Ktime>,
}

/// Who else has a namespace that is to be this container's alone: the host, or a container in which a process lives that is
/// in it. The dead don't count: inode numbers are reused at once.
pub(super) fn holder(
    context: &Context<'_>,
    container: &Container,
    kind: NamespaceKind,
    inode: u32,
) -> Option<Holder> {
    if is_hosts(context, container, kind, inode) {
        return Some(Holder {
            whose: "the host's".to_owned(),
            since: None,
        });
    }
    let (holder, other) = context
        .state
        .processes
        .iter()
        .filter(|process| {
            process.is_alive() && process.role.is_inside() && process.namespaces.get(kind) == inode
        })
        .filter_map(|process| Some((process, context.state.container_of(process)?)))
        .filter(|(_, other)| other.id != container.id)
        // Of several the same is named whatever the order of the table.
        .min_by_key(|(process, _)| (process.forked, process.id))?;
    let whose = match other.what {
        ContainerKind::Sandbox => "the pause's".to_owned(),
        _ => format!("container {}'s", other.name),
    };
    let whose = match other.pod == container.pod {
        true => whose,
        false => format!("{whose} of pod {}", pod_name(context, &other.pod)),
    };
    Some(Holder {
        whose,
        since: Some(holder.forked),
    })
}

/// `namespace/name`, or its id.
pub(super) fn pod_name(context: &Context<'_>, pod: &PodId) -> String {
    match context.state.pods.get(pod) {
        Some(known) => format!("{}/{}", known.namespace, known.name),
        None => pod.to_string(),
    }
}

/// Whether the pod was given namespaces of the node: it is there to work on the node, and may go where others may not.
pub(super) fn is_node_agent(pod: &Pod) -> bool {
    [NamespaceKind::Net, NamespaceKind::Pid, NamespaceKind::Ipc]
        .into_iter()
        .any(|kind| *pod.modes.get(kind) == Mode::Node)
}

/// Which namespaces a call put a process (for pid: its next children) into, and from where. Only kinds that were asked for
/// count: `before` are the first thread's, and another thread may have had others.
pub(super) fn changed(
    flags: u64,
    before: &Namespaces,
    after: &Namespaces,
) -> impl Iterator<Item = (NamespaceKind, u32, u32)> {
    NamespaceKind::ALL
        .into_iter()
        .filter(move |kind| flags == 0 || flags & kind.flag() != 0)
        .map(|kind| (kind, before.of_children(kind), after.of_children(kind)))
        .filter(|(_, from, to)| from != to && *to != 0)
}

/// Says at the end of a container's entrypoint, or of the pause, what was kept all its life.
pub(super) fn pass_at_the_end(
    context: &Context<'_>,
    process: ProcessId,
    sink: &mut Sink<'_>,
    message: impl FnOnce(Duration) -> String,
) {
    let Some((process, container, _)) = context.inside(process) else {
        return;
    };
    let (Some(started), true) = (container.started, container.init == Some(process.id)) else {
        return;
    };
    sink.pass(Subject::container(container), || {
        let lived = Duration(context.now.saturating_sub(started));
        Details::new(message(lived)).observed("watched for", Value::Duration(lived.0))
    });
}

/// `setns` or `unshare`.
pub(super) fn call_name(call: NamespaceCall) -> &'static str {
    match call {
        NamespaceCall::Setns => "setns",
        NamespaceCall::Unshare => "unshare",
    }
}

/// `net+ipc`, or `any` for a setns that takes what the descriptor is.
pub(super) fn flag_names(flags: u64) -> String {
    let names: Vec<_> = NamespaceKind::ALL
        .into_iter()
        .filter(|kind| flags & kind.flag() != 0)
        .map(NamespaceKind::name)
        .collect();
    if names.is_empty() {
        "any".to_owned()
    } else {
        names.join("+")
    }
}

/// Judges what was tried inside a container.
pub(super) fn judge_use(context: &Context<'_>, observation: &Observation, sink: &mut Sink<'_>) {
    let Some(container) = context.state.containers.get(&observation.container) else {
        return;
    };
    let what = match observation.what {
        Observed::Localhost => "connection over localhost to another container",
        Observed::PortSpace => "second listener on a port that another container has",
        Observed::Addresses => "addresses compared with another container's",
        Observed::NetworkReady => "loopback and address of the pod",
        Observed::SharedMemory => "System V shared memory of another container",
        Observed::MessageQueue => "POSIX message queue of another container",
        Observed::Hostname => "host name compared with another container's",
    };
    let details = || {
        Details::new(format!("{what}: {}", observation.detail))
            .observed("result", Value::Text(observation.detail.to_string()))
            .evidence(
                context.now,
                format!("tried in container {}", container.name),
            )
    };
    if observation.holds {
        sink.pass(Subject::container(container), details);
    } else {
        sink.fail(Subject::container(container), details);
    }
}
