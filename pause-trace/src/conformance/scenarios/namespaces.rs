//! Scenarios for the namespaces of every kind of pod.

use pause_trace_cri::messages::{Capability, Int64Value, NamespaceMode};

use super::OWN_USERS;
use crate::{
    conformance::{
        scenario::Script,
        stage::{Container, Play, Pod},
    },
    event::{Mode, NamespaceKind},
    playing::PlayError,
    reference::stage::PodKind,
    scenario::Scenario,
};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "pod-plain",
            title: "containers join net, ipc and uts of the pause; each has its own pids",
            proves: &[
                "PT101", "PT102", "PT103", "PT104", "PT105", "PT107", "PT112", "PT201",
            ],
            finds: &[],
        },
        play: |play| Box::pin(pod(play, PodKind::Plain)),
    },
    Script {
        scenario: Scenario {
            name: "pod-shared-pid",
            title: "shareProcessNamespace: containers join the pid namespace that pause is init of",
            proves: &[
                "PT101", "PT102", "PT103", "PT104", "PT105", "PT107", "PT112", "PT201",
            ],
            finds: &[],
        },
        play: |play| Box::pin(pod(play, PodKind::SharedPid)),
    },
    Script {
        scenario: Scenario {
            name: "pod-host-pid",
            title: "hostPID: containers see the node's processes, and share the rest with pause",
            proves: &["PT101", "PT102", "PT103", "PT104", "PT107", "PT112"],
            finds: &[],
        },
        play: |play| Box::pin(pod(play, PodKind::HostPid)),
    },
    Script {
        scenario: Scenario {
            name: "pod-host-network",
            title: "hostNetwork: containers are in the node's net and uts, ipc is the pod's",
            proves: &["PT101", "PT102", "PT103", "PT104", "PT107", "PT112"],
            finds: &[],
        },
        play: |play| Box::pin(pod(play, PodKind::HostNetwork)),
    },
    Script {
        scenario: Scenario {
            name: "pod-host-ipc",
            title: "hostIPC: containers are in the node's ipc, net and uts are the pod's",
            proves: &["PT101", "PT102", "PT103", "PT104", "PT107", "PT112"],
            finds: &[],
        },
        play: |play| Box::pin(pod(play, PodKind::HostIpc)),
    },
    Script {
        scenario: Scenario {
            name: OWN_USERS,
            title: "hostUsers: false: containers join the pod's user namespace, which owns its network",
            proves: &["PT101", "PT102", "PT103", "PT104", "PT106"],
            finds: &[],
        },
        play: |play| Box::pin(own_users(play)),
    },
    Script {
        scenario: Scenario {
            name: "pod-target",
            title: "an ephemeral container joins the pid namespace of its target, not pause's",
            proves: &["PT101", "PT104"],
            finds: &[],
        },
        play: |play| Box::pin(target(play)),
    },
    Script {
        scenario: Scenario {
            name: "localhost",
            title: "one container reaches another over 127.0.0.1",
            proves: &["PT101", "PT112"],
            finds: &[],
        },
        play: |play| Box::pin(localhost(play)),
    },
    Script {
        scenario: Scenario {
            name: "late-join",
            title: "a container's entrypoint leaves the pod's uts namespace for one of its own",
            proves: &[],
            finds: &["PT108"],
        },
        play: |play| Box::pin(late_join(play)),
    },
];

/// Runs two containers, and a session in one of them.
async fn pod(play: &Play<'_>, kind: PodKind) -> Result<String, PlayError> {
    let mut pod = play.pod(kind).await?;
    let app = pod.container("app", &["serve"]).await?;
    pod.container("side", &["serve"]).await?;
    pod.exec(&app, &["true"]).await?;
    let proof = shown(&pod, &app).await?;
    pod.finish().await?;
    Ok(format!("{proof} · 2 containers, 1 session"))
}

async fn own_users(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::OwnUsers).await?;
    let app = pod.container("app", &["serve"]).await?;
    pod.described().await?;
    // A runtime silently ignores the parts of a request that it does not know.
    let is_requested = pod.read(|core| {
        let pod = core.state.pods.get(&pod.id)?;
        Some(pod.modes.user == Mode::Pod)
    });
    if is_requested != Some(true) {
        let runtime = &play.runtime().name;
        return Err(PlayError::Impossible(format!(
            "not supported by this runtime: {runtime} ignores the request for a user namespace of the pod's own"
        )));
    }
    pod.exec(&app, &["true"]).await?;
    let proof = format!("{} user {}", shown(&pod, &app).await?, app.namespaces.user);
    pod.finish().await?;
    Ok(proof)
}

async fn target(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app", &["serve"]).await?;
    let debugger = pod
        .container_as("debugger", &["serve"], |security| {
            let namespaces = security.namespace_options.get_or_insert_default();
            namespaces.pid = NamespaceMode::Target.into();
            namespaces.target_id = app.id.to_string();
        })
        .await?;
    let (found, expected) = (debugger.namespaces.pid, app.namespaces.pid);
    pod.finish().await?;
    Ok(format!("pid {found} of its target, {expected}"))
}

async fn localhost(play: &Play<'_>) -> Result<String, PlayError> {
    const PORT: &str = "8080";
    let mut pod = play.pod(PodKind::Plain).await?;
    pod.container("server", &["serve", "--port", PORT]).await?;
    let client = pod.container("client", &["serve"]).await?;
    pod.exec(&client, &["connect", PORT]).await?;
    pod.finish().await?;
    Ok(format!("127.0.0.1:{PORT} accepted a connection"))
}

async fn late_join(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod
        .container_as("app", &["unshare", "uts"], |security| {
            security.run_as_user = Some(Int64Value { value: 0 });
            security.capabilities = Some(Capability {
                add_capabilities: vec!["SYS_ADMIN".to_owned()],
                drop_capabilities: Vec::new(),
            });
        })
        .await?;
    play.blame(app.process);
    play.found("PT108").await?;
    pod.finish().await?;
    Ok(format!("it left uts {}", app.namespaces.uts))
}

/// Lists the namespaces that a container shares with its pause.
async fn shown(pod: &Pod<'_>, container: &Container) -> Result<String, PlayError> {
    let pause = pod.pause().await?;
    let kinds = [
        NamespaceKind::Net,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Pid,
    ];
    let shared = kinds.into_iter().filter_map(|kind| {
        let inode = container.namespaces.get(kind);
        (inode == pause.namespaces.get(kind)).then(|| format!("{} {inode}", kind.name()))
    });
    Ok(shared.collect::<Vec<_>>().join(" "))
}
