//! What the rules of this family share: the namespace that a process must be in, the namespaces
//! that a call changed, and the messages.
//!
//! Exactly one rule reports a given fault as an error:
//!
//! - a container's entrypoint in a wrong net, ipc, uts or pid namespace, the host's included: PT101
//!   to PT104; in a wrong user namespace: PT106; in a shared mount namespace: PT107;
//! - a *sandbox* in the host's net, ipc or uts namespace: PT105; in the host's pid namespace:
//!   PT104. For its containers, which share what it has, the verdict is inconclusive and not
//!   another failure;
//! - a container in the host's namespace whose sandbox is unknown, so that PT101 to PT104 have
//!   nothing to compare with: PT105;
//! - an exec session: PT112; changes after a process' first exec: PT108 and PT109.
//!
//! A container is compared with the sandbox that it was created for. PT203 checks whether that
//! sandbox is the pod's current one.

use crate::rules::{ending, prelude::*};

/// Where the expected namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// This one, and its holder: `of the host`, `pinned for the sandbox`.
    Inode(u32, String),
    /// A namespace that no other container shares.
    Own,
    /// Unknown, for this reason.
    Unknown(String),
}

/// The requested mode. [`Mode::Pod`] becomes [`Mode::Node`] if the pod requests the node's
/// namespace.
pub(super) fn mode<'a>(container: &'a Container, pod: &'a Pod, kind: NamespaceKind) -> &'a Mode {
    match container.modes.get(kind) {
        _ if container.what == ContainerKind::Sandbox => pod.modes.get(kind),
        Mode::Pod => match pod.modes.get(kind) {
            Mode::Node => &Mode::Node,
            _ => &Mode::Pod,
        },
        requested => requested,
    }
}

/// The namespace that the requested mode requires for a container's process.
pub(super) fn expected(
    context: &Context<'_>,
    container: &Container,
    pod: &Pod,
    kind: NamespaceKind,
) -> Expected {
    match mode(container, pod, kind) {
        Mode::Node => match context.state.host_of(container).get(kind) {
            0 => Expected::Unknown("the host's namespaces are unknown".to_owned()),
            inode => Expected::Inode(inode, "of the host".to_owned()),
        },
        Mode::Unknown => Expected::Unknown("the requested mode is unknown".to_owned()),
        Mode::Container => Expected::Own,
        Mode::Target(target) => match context
            .state
            .containers
            .get(target)
            .and_then(|target| target.namespaces)
        {
            Some(namespaces) => Expected::Inode(
                namespaces.get(kind),
                format!("of target container {}", context.container_name(target)),
            ),
            None => Expected::Unknown("the target container's namespaces are unknown".to_owned()),
        },
        Mode::Pod if container.what == ContainerKind::Sandbox => Expected::Own,
        Mode::Pod => {
            let Some((sandbox, namespaces)) = ending::sandbox_for(context.state, container, pod)
                .and_then(|sandbox| Some((sandbox, sandbox.namespaces?)))
            else {
                return Expected::Unknown("the sandbox's namespaces are unknown".to_owned());
            };
            if container
                .started
                .is_some_and(|started| sandbox.started > Some(started))
            {
                return Expected::Unknown(
                    "the container executed before its sandbox (see PT201)".to_owned(),
                );
            }
            match (sandbox.init, namespaces.get(kind)) {
                (Some(pause), inode) => {
                    Expected::Inode(inode, format!("of the pause (pid {})", pause.pid))
                }
                (None, 0) => {
                    Expected::Unknown("the sandbox has no pause and pins no namespace".to_owned())
                }
                (None, inode) => Expected::Inode(inode, "pinned for the sandbox".to_owned()),
            }
        }
    }
}

/// A process at its first exec inside a container, if its namespaces are known. Before later execs
/// it may have changed its namespaces itself.
pub(super) fn first_exec<'a>(
    context: &Context<'a>,
    process: ProcessId,
    role: Role,
) -> Option<(&'a Process, &'a Container, &'a Pod)> {
    context
        .inside(process)
        .filter(|(process, ..)| process.role == role && process.execs == 1)
        .filter(|(process, ..)| process.namespaces.are_known())
}

/// Judges the namespaces of one kind in which containers' entrypoints first executed. The pause is
/// the reference and is not judged here. If the sandbox or target becomes known after the
/// container, the container is judged then instead of at its own exec.
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
                    && is_compared_with(context, container, pod, kind, known)
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
                    Details::new(format!("cannot verify {name} namespace {observed}: {why}"))
                        .observed(name, Value::Namespace(observed))
                });
            }
        }
        _ => {}
    }
}

/// Whether a container's namespace of this kind must be that of `other`, a container or sandbox.
fn is_compared_with(
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
        Expected::Inode(inode, of) if inode == observed && is_hosts => {
            sink.inconclusive(subject(), || {
                let (comm, executed) = (process.comm, process.is_or_executed());
                Details::new(format!(
                    "{comm} {executed} in {name} namespace {observed} {of}, which is the host's (see PT104 to PT106)"
                ))
            });
        }
        Expected::Inode(inode, of) if inode == observed => sink.pass(subject(), || {
            let (comm, executed) = (process.comm, process.is_or_executed());
            Details::new(format!(
                "{comm} {executed} in {name} namespace {observed} {of}"
            ))
            .observed(name, Value::Namespace(observed))
            .with_exec(context, process, kind, observed)
        }),
        // PT105 reported it when it executed, which needs no sandbox to compare with.
        Expected::Inode(..) if is_hosts && is_late && kind != NamespaceKind::User => {}
        Expected::Inode(inode, of) => fail(context, process, container, None, sink, || {
            let holder = holder(context, container, kind, observed);
            let of_holder = holder
                .map(|holder| format!(" of {}", holder.name))
                .unwrap_or_default();
            let (comm, executed) = (process.first_comm(), process.is_or_executed());
            Details::new(format!(
                "{comm} {executed} in {name} namespace {observed}{of_holder} instead of {inode} {of}"
            ))
            .expected(name, Value::Namespace(inode))
            .observed(name, Value::Namespace(observed))
            .with_exec(context, process, kind, observed)
        }),
        // PT104 judges it, and also which process is pid 1.
        Expected::Own if kind == NamespaceKind::Pid => {}
        Expected::Own => match holder(context, container, kind, observed) {
            None => sink.pass(subject(), || {
                Details::new(format!("{name} namespace {observed} is its own"))
                    .observed(name, Value::Namespace(observed))
                    .with_exec(context, process, kind, observed)
            }),
            Some(Holder {
                name: holder,
                since,
            }) => fail(context, process, container, since, sink, || {
                let (comm, executed) = (process.first_comm(), process.is_or_executed());
                Details::new(format!(
                    "{comm} {executed} in {name} namespace {observed} of {holder} instead of in its own"
                ))
                .expected(name, Value::Text("one of its own".to_owned()))
                .observed(name, Value::Namespace(observed))
                .with_exec(context, process, kind, observed)
            }),
        },
        // It may still become known. If it does not, the container's end gives the verdict.
        Expected::Unknown(_) => {}
    }
}

/// Reports that a process' first exec was in a wrong namespace. The verdict is inconclusive if the
/// records of the real first exec, or of the holder's end since `held_since`, may be lost.
pub(super) fn fail(
    context: &Context<'_>,
    process: &Process,
    container: &Container,
    held_since: Option<Ktime>,
    sink: &mut Sink<'_>,
    details: impl FnOnce() -> Details,
) {
    let pod = context.state.pods.get(&container.pod);
    let placed = pod.map_or(container.since, |pod| ending::placed_since(container, pod));
    let created = placed.min(process.forked);
    let since = held_since.map_or(created, |held| created.min(held));
    ending::fail_unless_gap(context, since, sink, Subject::process(process), details);
}

impl Details {
    /// The exec of a process in a namespace, as evidence.
    pub(super) fn with_exec(
        self,
        context: &Context<'_>,
        process: &Process,
        kind: NamespaceKind,
        inode: u32,
    ) -> Self {
        let (name, pid) = (kind.name(), process.id.pid);
        if process.found {
            let what = format!(
                "pid {pid}, {}, was found in {name} namespace {inode}",
                process.executable()
            );
            return self.evidence(process.seen, what);
        }
        let what = format!(
            "pid {pid} executed {} in {name} namespace {inode}",
            process.executable()
        );
        self.evidence(process.executed.unwrap_or(context.now), what)
    }
}

/// Whether a namespace is the host's, as known to this container's runtime.
pub(super) fn is_hosts(
    context: &Context<'_>,
    container: &Container,
    kind: NamespaceKind,
    inode: u32,
) -> bool {
    inode != 0 && inode == context.state.host_of(container).get(kind)
}

/// The host or a container that is in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// `the host`, `the pause`, `container web of pod default/shop`.
    pub(super) name: String,
    /// When the container's process in the namespace was forked; `None` for the host.
    pub(super) since: Option<Ktime>,
}

/// The other holder of a namespace that must be this container's alone: the host, or a container
/// with a living process in it. Dead processes do not count, because the kernel reuses inode
/// numbers at once.
pub(super) fn holder(
    context: &Context<'_>,
    container: &Container,
    kind: NamespaceKind,
    inode: u32,
) -> Option<Holder> {
    if is_hosts(context, container, kind, inode) {
        return Some(Holder {
            name: "the host".to_owned(),
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
        // The choice must not depend on the order of the hash map.
        .min_by_key(|(process, _)| (process.forked, process.id))?;
    let name = match other.what {
        ContainerKind::Sandbox => "the pause".to_owned(),
        _ => format!("container {}", other.name),
    };
    let name = match other.pod == container.pod {
        true => name,
        false => format!("{name} of pod {}", pod_name(context, &other.pod)),
    };
    Some(Holder {
        name,
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

/// Whether the pod requests namespaces of the node. Such a pod works on the node, so joining other
/// namespaces is a milder finding.
pub(super) fn is_node_agent(pod: &Pod) -> bool {
    [NamespaceKind::Net, NamespaceKind::Pid, NamespaceKind::Ipc]
        .into_iter()
        .any(|kind| *pod.modes.get(kind) == Mode::Node)
}

/// The namespaces that a call changed, as (kind, from, to); for pid, those of the process' next
/// children. Only the kinds in `flags` count: `before` has the first thread's namespaces, and
/// another thread may have been in others.
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

/// Who made a call: `nginx (pid 4711)`, or `thread 4720 of nginx (pid 4711)`.
pub(super) fn caller(process: &Process, thread: Option<u32>) -> String {
    let name = format!("{} (pid {})", process.comm, process.id.pid);
    match thread {
        Some(thread) => format!("thread {thread} of {name}"),
        None => name,
    }
}

/// The same without the name, for evidence: `pid 4711`, or `thread 4720 of pid 4711`.
pub(super) fn short_caller(process: &Process, thread: Option<u32>) -> String {
    let pid = process.id.pid;
    match thread {
        Some(thread) => format!("thread {thread} of pid {pid}"),
        None => format!("pid {pid}"),
    }
}

/// A thread that changes its namespaces does not move its process. Daemons that set up networks
/// (containerd, dockerd, CNI agents) do so in a thread that they then end, or move back.
pub(super) fn milder_for(thread: Option<u32>, details: Details) -> Details {
    match thread {
        Some(_) => details.milder(Severity::Info),
        None => details,
    }
}

/// Passes at the end of a container's entrypoint or of the pause, with a message about the time
/// in which it was watched: its whole lifetime, unless it was found running.
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
        let since = match process.found {
            true => process.seen,
            false => started,
        };
        let watched = Duration(context.now.saturating_sub(since));
        Details::new(message(watched)).observed("watched for", Value::Duration(watched.0))
    });
}

/// `setns` or `unshare`.
pub(super) fn call_name(call: NamespaceCall) -> &'static str {
    match call {
        NamespaceCall::Setns => "setns",
        NamespaceCall::Unshare => "unshare",
    }
}

/// `net+ipc`, or `any` for a setns that accepts a descriptor of any kind.
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

/// Judges the result of a test inside a container.
pub(super) fn judge_use(context: &Context<'_>, observation: &Observation, sink: &mut Sink<'_>) {
    let Some(container) = context.state.containers.get(&observation.container) else {
        return;
    };
    let what = match observation.what {
        Observed::Localhost => "connection over localhost to another container",
        Observed::PortSpace => "second listener on a port that another container listens on",
        Observed::Addresses => "addresses compared with another container's",
        Observed::NetworkReady => "loopback interface and address of the pod",
        Observed::SharedMemory => "System V shared memory of another container",
        Observed::MessageQueue => "POSIX message queue of another container",
        Observed::Hostname => "host name compared with another container's",
    };
    let details = || {
        Details::new(format!("{what}: {}", observation.detail))
            .observed("result", Value::Text(observation.detail.to_string()))
            .evidence(
                context.now,
                format!("tested in container {}", container.name),
            )
    };
    if observation.holds {
        sink.pass(Subject::container(container), details);
    } else {
        sink.fail(Subject::container(container), details);
    }
}
