//! Takes a snapshot of the node's pods without the eBPF program: from the survey, bundles, runtimes
//! and `/proc`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    iter,
    rc::Rc,
};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use pause_trace_cri::Socket;

use super::{
    bundles::Bundles,
    described::Described,
    read::Read,
    runtimes::{Question, Runtimes},
    tree,
    view::{self, PodView},
};
use crate::{
    event::{Comm, ContainerId, NamespaceKind, Namespaces, ProcessId},
    node::{
        cgroup::{Hierarchies, Hierarchy},
        cri::Answer,
        network::{self, Listening},
        ports,
        procfs::{self, NS_PER_TICK},
        survey::{
            self,
            process::{self, Link, Process},
        },
    },
    probe,
    runtimes::programs,
    stop_outlook::StopOutlook,
};

/// Concurrent queries to the runtimes.
const CONCURRENT_QUERIES: usize = 8;

/// The most ancestors of a container that are read. A runtime is two or three above it.
const MAX_ANCESTORS: usize = 16;

/// The most gaps that are kept.
const MAX_GAPS: usize = 8;

/// The node's pods at one time.
pub(crate) struct Snapshot {
    pub(crate) pods: Vec<PodView>,
    /// What is unknown, and why: sentences, escaped.
    pub(crate) gaps: Vec<String>,
}

/// Takes a snapshot. `socket` is the CRI socket to use instead of that of each container's own
/// runtime. `hosts` are the host's namespaces as each container's runtime has them, which the
/// kernel's events show; for other containers, `/proc` is read.
///
/// # Errors
/// Fails when cgroups or `/proc` cannot be read at all.
pub(crate) async fn collect(
    hierarchies: &Hierarchies,
    socket: Option<Socket>,
    hosts: Option<&HashMap<ContainerId, Namespaces>>,
) -> Result<Snapshot> {
    let hierarchy = hierarchies.watched();
    let mut survey = survey::survey(hierarchy)
        .with_context(|| format!("failed to read {}", hierarchy.mount.display()))?;
    // A container that joins another's namespaces is younger than that one, whose bundle is needed
    // first.
    survey.containers.sort_by_key(|container| {
        view::oldest(container).map_or(u64::MAX, |oldest| oldest.start_ticks)
    });
    let mut gaps = Gaps::default();
    if survey.hidden > 0 {
        let (what, are) = match survey.hidden {
            1 => ("1 process".to_owned(), "is"),
            many => (format!("{many} processes"), "are"),
        };
        gaps.add(format!(
            "{what} in containers {are} not shown, because this pid namespace does not contain them; run pause-trace \
             in the node's"
        ));
    }

    let mut described = Described::default();
    let (mut bundles, mut questions) = (Bundles::default(), Vec::new());
    for container in &survey.containers {
        let identity = &container.identity;
        let cgroup = container.groups.first().map_or(0, |group| group.id);
        let pid = view::oldest(container).map_or(0, |oldest| oldest.pid);
        let host = hosts.and_then(|hosts| hosts.get(&identity.container).copied());
        if let Some(host) = host.or_else(|| runtimes_namespaces(hierarchy, pid)) {
            described.host(&identity.container, host);
        }
        let mut socket = None;
        match bundles.read(identity, vec![pid]).await {
            Ok(Read {
                bundle,
                location,
                pinned,
            }) => {
                socket = location.socket;
                if let Some(pinned) = pinned {
                    described.pinned(identity, pinned);
                }
                let who = |other| tree::container_of(hierarchy, other, pid);
                described.bundle(cgroup, identity, bundle, who);
            }
            Err(error) if identity.pod.is_some() => gaps.add(format!("failed to {error}")),
            // The container may be in no pod.
            Err(_) => {}
        }
        questions.push(Question::new(cgroup, identity.container.clone(), socket));
    }

    let runtimes = Rc::new(Runtimes::new(socket));
    let mut answers = futures::stream::iter(questions)
        .map(|question| {
            let runtimes = Rc::clone(&runtimes);
            async move {
                let answer = runtimes.ask(&question).await;
                (question, answer)
            }
        })
        .buffered(CONCURRENT_QUERIES);
    while let Some((question, answer)) = answers.next().await {
        match answer {
            Answer::Known(known) => {
                described.answered(question.cgroup, &question.container, *known)
            }
            Answer::Unavailable { reason, .. } => {
                gaps.add(format!("failed to {reason}"));
            }
            Answer::Unclear(reason) => gaps.add(format!("failed to {reason}")),
            Answer::Unknown => {}
        }
    }

    let host = process::read(std::process::id());
    let mut pods = view::views(survey, &described, host.as_ref());
    let mut hosts_sockets = None;
    for pod in &mut pods {
        complete(pod, hierarchies);
        find_ports(pod, &mut hosts_sockets);
    }
    Ok(Snapshot {
        pods,
        gaps: gaps.0.into_iter().collect(),
    })
}

/// The namespaces of the runtime that made a process of a container, as
/// [`State::host_of`](crate::state::State::host_of) has them: those of the first process of the
/// runtime among its ancestors. `None` if no ancestor is a runtime's.
fn runtimes_namespaces(hierarchy: &Hierarchy, pid: u32) -> Option<Namespaces> {
    let names: Vec<_> = programs().map(Comm::new).collect();
    let above = |process: &Process| process::read(process.parent);
    let ancestors = iter::successors(above(&process::read(pid)?), above).take(MAX_ANCESTORS);
    let is_runtime = |process: &Process| {
        names.contains(&process.comm)
            // Otherwise it belongs to a container, such as a node that is itself a container.
            && process.pid_level == 0
            && tree::container_of(hierarchy, process.pid, process.pid) == Some(None)
    };
    let of_runtime = ancestors.skip_while(|process| !is_runtime(process));
    let first = of_runtime.take_while(is_runtime).last()?;
    let inode = |kind| match first.namespace(kind) {
        Link::Inode(inode) => inode,
        Link::Gone | Link::Unknown => 0,
    };
    Some(Namespaces {
        net: inode(NamespaceKind::Net),
        ipc: inode(NamespaceKind::Ipc),
        uts: inode(NamespaceKind::Uts),
        ..Namespaces::default()
    })
}

/// Adds memory, the status of the pause, and networks, from the pod's processes and cgroups.
fn complete(pod: &mut PodView, hierarchies: &Hierarchies) {
    for container in &mut pod.containers {
        let group = container.group.as_ref();
        container.memory = group.and_then(|group| hierarchies.memory(&group.path));
        let Some(first) = container.entrypoint().filter(|first| !first.is_zombie()) else {
            continue;
        };
        let (pid, net) = (first.pid, first.namespace(NamespaceKind::Net));
        let start = first.start_ticks * NS_PER_TICK;
        let (signals, is_pid_1) = (procfs::signals(pid), first.ns_pid == 1);
        let age = probe::now().saturating_sub(start);
        let signal = container
            .asked
            .as_ref()
            .map_or(0, |asked| asked.stop_signal);
        container.stop = Some(StopOutlook::of(signal, signals, is_pid_1, age));
        if container.is_sandbox() {
            let process = ProcessId { pid, start };
            container.status = procfs::pause_status(&pod.id, process).ok();
        }
        if let Link::Inode(inode) = net
            && !container.is_in_hosts(NamespaceKind::Net)
            && !pod.networks.contains_key(&inode)
            && let Ok(network) = network::read(pid)
        {
            pod.networks.insert(inode, network);
        }
    }
}

/// Adds the ports of its containers. The host's sockets are read once, for the pods in its network.
fn find_ports(pod: &mut PodView, hosts: &mut Option<BTreeMap<u64, Listening>>) {
    let mut left = ports::MAX_ALL_FILES;
    for container in &mut pod.containers {
        let found = container
            .inode(NamespaceKind::Net)
            .and_then(|inode| pod.networks.get(&inode));
        let is_in_hosts = container.is_in_hosts(NamespaceKind::Net);
        let sockets = match (found, container.first) {
            (Some(network), _) => &network.sockets,
            (None, Some(first)) if is_in_hosts => hosts.get_or_insert_with(|| {
                network::read(first).map_or_else(|_| BTreeMap::new(), |network| network.sockets)
            }),
            _ => continue,
        };
        container.ports = ports::of(&container.processes, sockets, &mut left);
    }
}

/// The gaps, without duplicates.
#[derive(Default)]
struct Gaps(BTreeSet<String>);

impl Gaps {
    fn add(&mut self, gap: String) {
        if self.0.len() < MAX_GAPS {
            self.0.insert(gap);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        process::{Child, Command, Stdio},
    };

    use nix::unistd::Pid;

    use super::*;
    use crate::{
        node::cgroup::{self, Cgroup, Layout},
        pods::NamespaceOwner,
    };

    /// A process in a network namespace of its own, killed and reaped on drop.
    struct Alone(Child);

    impl Alone {
        fn new() -> Self {
            let mut child = Command::new("unshare")
                .args(["--net", "sh", "-c", "echo; exec sleep 1000"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .expect("unshare(1) is installed");
            let stdout = child.stdout.as_mut().expect("it is piped");
            stdout
                .read_exact(&mut [0])
                .expect("it is in there, and says so");
            Self(child)
        }
    }

    impl Drop for Alone {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn made(layout: &Layout, name: &str) -> Cgroup {
        let mut group = layout.cgroup(name);
        group.create().expect("as root, cgroups can be made");
        group
    }

    #[tokio::test]
    async fn a_pod_without_a_description_is_listed_with_its_gaps() {
        let layout = Layout::discover().expect("there is a hierarchy to write to");
        let name = Layout::unique_name().expect("/proc is mounted");
        let id = "0123456789abcdef".repeat(4);
        let kubepods = format!("{name}/kubepods");
        let pod = format!("{kubepods}/pod{name}");
        let _above = [&name, &kubepods, &pod].map(|path| made(&layout, path));
        let own = made(&layout, &format!("{pod}/{id}"));
        let alone = Alone::new();
        for directory in own.directories() {
            cgroup::attach(directory, Pid::from_raw(alone.0.id() as i32)).expect("attach");
        }

        let hierarchies = Hierarchies::discover().expect("there is a hierarchy");
        let nowhere = "unix:///nowhere/pause-trace.sock"
            .parse()
            .expect("it is a socket");
        let snapshot = collect(&hierarchies, Some(nowhere), None)
            .await
            .expect("it can be read");
        let found = snapshot.pods.iter().find(|pod| *pod.id == *name);
        let pod = found.expect("its cgroup names it");
        assert_eq!(pod.title(), format!("pod {name}"));
        let container = &pod.containers[0];
        assert_eq!(
            (&*container.id, container.first),
            (&*id, Some(alone.0.id()))
        );
        assert!(container.asked.is_none() && !container.is_sandbox());
        let [net, ipc, ..] = &container.namespaces[..] else {
            panic!("{container:?}");
        };
        assert_eq!((&net.whose, net.fits), (&NamespaceOwner::Own, None));
        assert_eq!((&ipc.whose, ipc.fits), (&NamespaceOwner::Host, None));
        let inode = container.inode(NamespaceKind::Net).expect("we may look");
        let network = &pod.networks[&inode];
        assert!(!network.is_loopback_up(), "{network:?}");
        let gaps = snapshot.gaps.join("\n");
        assert!(gaps.contains("/nowhere/pause-trace.sock"), "{gaps}");
        assert!(
            gaps.contains(&format!("find the bundle of container {id}")),
            "{gaps}"
        );
    }
}
