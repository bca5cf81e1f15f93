//! Scenarios for every namespace mode of Kubernetes. The kernel reports at exec which namespaces
//! are shared.

use crate::{
    event::{ContainerKind, Mode, Modes, NamespaceKind, Observed},
    playing::PlayError,
    reference::{
        protocol::{Answer, Request},
        scenario::Script,
        stage::{Play, PodKind, ReferencePod, Started},
    },
    scenario::Scenario,
};

/// The rules that apply to the containers of every pod.
const MEMBERSHIP: &[&str] = &[
    "PT101", "PT102", "PT103", "PT104", "PT107", "PT112", "PT113", "PT201",
];

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "pod-plain",
            title: "containers join net, ipc and uts of the pause; each has its own pids",
            proves: MEMBERSHIP,
            finds: &[],
        },
        play: |play| Box::pin(full_pod(play, PodKind::Plain)),
    },
    Script {
        scenario: Scenario {
            name: "pod-shared-pid",
            title: "shareProcessNamespace: containers join the pid namespace that pause is init of",
            proves: MEMBERSHIP,
            finds: &[],
        },
        play: |play| Box::pin(full_pod(play, PodKind::SharedPid)),
    },
    Script {
        scenario: Scenario {
            name: "pod-host-pid",
            title: "hostPID: containers see the node's processes, and share the rest with pause",
            proves: MEMBERSHIP,
            finds: &[],
        },
        play: |play| Box::pin(full_pod(play, PodKind::HostPid)),
    },
    Script {
        scenario: Scenario {
            name: "pod-host-network",
            title: "hostNetwork: containers are in the node's net and uts, ipc is the pod's",
            proves: &["PT101", "PT102", "PT103", "PT104", "PT107", "PT112"],
            finds: &[],
        },
        play: |play| Box::pin(full_pod(play, PodKind::HostNetwork)),
    },
    Script {
        scenario: Scenario {
            name: "pod-host-ipc",
            title: "hostIPC: containers are in the node's ipc, net and uts are the pod's",
            proves: MEMBERSHIP,
            finds: &[],
        },
        play: |play| Box::pin(full_pod(play, PodKind::HostIpc)),
    },
    Script {
        scenario: Scenario {
            name: "pod-own-users",
            title: "hostUsers: false: containers join the pod's user namespace, which owns its network",
            proves: &[
                "PT101", "PT102", "PT103", "PT104", "PT106", "PT107", "PT112", "PT113",
            ],
            finds: &[],
        },
        play: |play| Box::pin(full_pod(play, PodKind::OwnUsers)),
    },
    Script {
        scenario: Scenario {
            name: "pod-target",
            title: "an ephemeral container joins the pid namespace of its target, not pause's",
            proves: &["PT104"],
            finds: &[],
        },
        play: |play| Box::pin(target(play)),
    },
];

/// Runs a pod with everything that a pod can contain: an init container, two containers, an exec
/// session in one and a probe in the other, an ephemeral container.
async fn full_pod(play: &Play<'_>, kind: PodKind) -> Result<String, PlayError> {
    let mut pod = play.pod(kind).await?;
    let modes = pod.modes.clone();
    let init = pod
        .container_as("init", ContainerKind::Init, modes.clone(), |plan| plan)
        .await?;
    network_ready(&pod, &init).await?;
    init.container.ask(Request::Exit { code: 0 }).await.ok();
    pod.ended(init.process).await?;
    let app = pod.container("app").await?;
    let sidecar = pod.container("sidecar").await?;
    let session = pod.exec(&app, |plan| plan).await?;
    let probe = pod.exec(&sidecar, |plan| plan.named("probe")).await?;
    let ephemeral = Modes {
        pid: Mode::Target(app.id.clone()),
        ..modes
    };
    let ephemeral = pod
        .container_as("debugger", ContainerKind::Ephemeral, ephemeral, |plan| plan)
        .await?;
    let proof = proof(&pod, &app)?;
    for helper in [&session, &probe, &ephemeral] {
        helper.container.ask(Request::Exit { code: 0 }).await.ok();
        pod.ended(helper.process).await?;
    }
    pod.finish().await?;
    Ok(format!("{proof} · 4 containers, 2 sessions"))
}

async fn target(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app").await?;
    let modes = Modes {
        pid: Mode::Target(app.id.clone()),
        ..pod.modes.clone()
    };
    let debugger = pod
        .container_as("debugger", ContainerKind::Ephemeral, modes, |plan| plan)
        .await?;
    let namespaces = pod.live().read(|core| {
        let pid = |process| {
            core.state
                .processes
                .get(process)
                .map(|process| process.namespaces.pid)
        };
        (pid(app.process), pid(debugger.process))
    });
    pod.finish().await?;
    match namespaces {
        (Some(app), Some(debugger)) if app == debugger => Ok(format!("pid {app} of the target")),
        other => Err(PlayError::Unexpected(format!(
            "target and debugger are in pid namespaces {other:?}"
        ))),
    }
}

/// Asks a container for its addresses, which it needs before it can work.
async fn network_ready(pod: &ReferencePod<'_>, container: &Started) -> Result<(), PlayError> {
    let Answer::Addresses(addresses) = container.ask(Request::Addresses).await? else {
        return Err(PlayError::Unexpected(
            "the container did not report its addresses".to_owned(),
        ));
    };
    let has_loopback = addresses.iter().any(std::net::IpAddr::is_loopback);
    let other: Vec<_> = addresses
        .iter()
        .filter(|address| !address.is_loopback())
        .map(ToString::to_string)
        .collect();
    let holds = has_loopback && !other.is_empty();
    pod.observe(container, Observed::NetworkReady, holds, &other.join(", "));
    Ok(())
}

/// The inode numbers of the namespaces in which a container executed.
fn proof(pod: &ReferencePod<'_>, container: &Started) -> Result<String, PlayError> {
    let namespaces = pod
        .live()
        .read(|core| core.state.containers.get(&container.id)?.namespaces);
    let namespaces = namespaces.ok_or_else(|| {
        PlayError::Unexpected(format!(
            "the kernel did not report the exec of {}",
            container.container.name
        ))
    })?;
    let kinds = [
        NamespaceKind::Net,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Pid,
    ];
    let words: Vec<_> = kinds
        .iter()
        .map(|kind| format!("{} {}", kind.name(), namespaces.get(*kind)))
        .collect();
    Ok(words.join(" "))
}
