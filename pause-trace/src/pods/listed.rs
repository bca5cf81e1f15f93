//! The pods as their runtimes list them, with containers that have ended.
//!
//! Cgroups and `/proc` show what runs. Only the runtime knows what has ended, and how.

use std::path::{Path, PathBuf};

use pause_trace_cri::{
    Client, Detail, Info, Socket,
    messages::{Container, ContainerStatus, PodSandbox},
};

use super::{ContainerView, PodView};
use crate::{
    event::{ContainerKind, PodId, Text},
    node::{cri::intent::is_id, survey::process::Link},
    runtimes::sockets,
};

/// Containers of a pod whose status is asked for. A pod keeps one or two ended runs of each.
const MAX_ASKED: usize = 64;

/// The lists of all runtimes.
#[derive(Default)]
pub(crate) struct Listed {
    runtimes: Vec<Runtime>,
    /// What could not be asked, and why: sentences, escaped.
    pub(crate) gaps: Vec<String>,
}

struct Runtime {
    client: Client,
    sandboxes: Vec<PodSandbox>,
    containers: Vec<Container>,
}

/// A pod as its runtime lists it.
#[derive(Debug, Default)]
pub(crate) struct ListedPod {
    /// The newest first.
    pub(crate) sandboxes: Vec<PodSandbox>,
    /// The newest first. The sandbox that each belongs to is in the list.
    pub(crate) containers: Vec<(Container, ContainerStatus)>,
    /// The file that pins the network namespace of the newest sandbox, if the runtime made one.
    pub(crate) network_path: Option<PathBuf>,
}

impl Listed {
    /// Asks the runtime at `only`, otherwise those at the default sockets.
    pub(crate) async fn ask(only: Option<Socket>) -> Self {
        let mut listed = Self::default();
        let found = match only {
            Some(socket) => vec![socket],
            None => Socket::discover(sockets()).unwrap_or_default(),
        };
        for socket in found {
            let path = socket.path().to_owned();
            match Runtime::ask(Client::connect(socket)).await {
                Ok(runtime) => listed.runtimes.push(runtime),
                Err(error) => listed.gaps.push(unanswered(&path, error)),
            }
        }
        listed
    }

    /// Adds the pods that no cgroup shows.
    pub(crate) fn add_to(&self, pods: &mut Vec<PodView>) {
        for runtime in &self.runtimes {
            for sandbox in &runtime.sandboxes {
                let Some(about) = &sandbox.metadata else {
                    continue;
                };
                let ended = runtime.containers.iter();
                let ended = ended.filter(|one| one.pod_sandbox_id == sandbox.id);
                let ids = ended.map(|one| (one.id.as_str(), name_of(one)));
                let ids = ids.chain([(sandbox.id.as_str(), "")]);
                let at = match pods.iter().position(|pod| *pod.id == about.uid) {
                    Some(at) => at,
                    None => {
                        pods.push(PodView::unseen(&about.uid, &about.namespace, &about.name));
                        pods.len() - 1
                    }
                };
                for (id, name) in ids.filter(|(id, _)| is_id(id)) {
                    let is_seen = pods[at].containers.iter().any(|one| *one.id == *id);
                    if !is_seen {
                        let view = ContainerView::ended(id, name, &sandbox.id);
                        pods[at].containers.push(view);
                    }
                }
            }
        }
    }

    /// Asks how the containers of a pod are, and how they ended.
    pub(crate) async fn pod(&mut self, uid: &PodId) -> ListedPod {
        let mut pod = ListedPod::default();
        for runtime in &self.runtimes {
            let own = |sandbox: &&PodSandbox| {
                let about = sandbox.metadata.as_ref();
                about.is_some_and(|about| *about.uid == **uid)
            };
            let sandboxes: Vec<_> = runtime.sandboxes.iter().filter(own).cloned().collect();
            let is_own = |container: &&Container| {
                sandboxes
                    .iter()
                    .any(|one| one.id == container.pod_sandbox_id)
            };
            let mut containers: Vec<_> = runtime.containers.iter().filter(is_own).collect();
            containers.sort_by_key(|one| std::cmp::Reverse(one.created_at));
            for container in containers.into_iter().take(MAX_ASKED) {
                match runtime
                    .client
                    .container_status(&container.id, Detail::Plain)
                    .await
                {
                    Ok(answer) => {
                        let status = answer.status.unwrap_or_default();
                        pod.containers.push((container.clone(), status));
                    }
                    Err(error) if error.is_not_found() => {}
                    Err(error) => {
                        let error = anyhow::Error::from(error);
                        self.gaps.push(format!("{error:#}"));
                    }
                }
            }
            pod.sandboxes.extend(sandboxes);
        }
        pod.sandboxes
            .sort_by_key(|one| std::cmp::Reverse(one.created_at));
        if let Some(newest) = pod.sandboxes.first() {
            for runtime in &self.runtimes {
                if runtime.sandboxes.contains(newest) {
                    pod.network_path = network_path(&runtime.client, &newest.id).await;
                }
            }
        }
        pod
    }

    /// Whether a runtime has answered.
    pub(crate) fn has_answer(&self) -> bool {
        !self.runtimes.is_empty()
    }
}

/// The path of the network namespace in the specification of a sandbox.
async fn network_path(client: &Client, sandbox: &str) -> Option<PathBuf> {
    let answer = client.sandbox_status(sandbox, Detail::Verbose).await.ok()?;
    let info = Info::read(&answer.info).ok()??;
    let path = *info.spec_namespaces()?.get("network")?;
    Some(PathBuf::from(path?))
}

fn unanswered(socket: &Path, error: pause_trace_cri::CriError) -> String {
    let error = anyhow::Error::from(error);
    format!(
        "{} does not say what has ended: {error:#}",
        Text::new(&socket.to_string_lossy())
    )
}

fn name_of(container: &Container) -> &str {
    let about = container.metadata.as_ref();
    about.map_or("", |about| about.name.as_str())
}

impl Runtime {
    async fn ask(client: Client) -> Result<Self, pause_trace_cri::CriError> {
        let sandboxes = client.sandboxes().await?;
        let containers = client.containers(None).await?;
        Ok(Self {
            client,
            sandboxes,
            containers,
        })
    }
}

impl PodView {
    /// A pod of which no container runs.
    pub(crate) fn unseen(uid: &str, namespace: &str, name: &str) -> Self {
        Self {
            id: uid.into(),
            namespace: Some(Text::new(namespace)),
            name: Some(Text::new(name)),
            containers: Vec::new(),
            networks: std::collections::BTreeMap::new(),
        }
    }
}

impl ContainerView {
    /// A container without processes. A sandbox has its own id.
    pub(crate) fn ended(id: &str, name: &str, sandbox: &str) -> Self {
        Self {
            id: id.into(),
            name: (!name.is_empty()).then(|| Text::new(name)),
            sandbox: Some(sandbox.into()),
            asked: None,
            first: None,
            processes: Vec::new(),
            is_cut: false,
            namespaces: Vec::new(),
            host: [Link::Unknown; _],
            group: None,
            memory: None,
            status: None,
            stop: None,
            grace: None,
            ports: Vec::new(),
        }
    }
}

/// What a container is, if the view knows.
pub(crate) fn kind_of(view: &ContainerView) -> ContainerKind {
    view.kind().unwrap_or(ContainerKind::App)
}
