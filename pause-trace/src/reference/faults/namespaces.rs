//! Faults of containers in the wrong namespaces.

use nix::errno::Errno;

use super::{Pinned, built_as, namespace, pod_with_app};
use crate::{
    event::{ContainerKind, Mode, Modes, NamespaceKind},
    playing::PlayError,
    reference::{
        pod::ContainerPlan,
        protocol::{Join, Program},
        scenario::Script,
        stage::{Play, PodKind, join_of},
    },
    scenario::Scenario,
};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "own-net",
            title: "a container has a network of its own instead of the pod's",
            proves: &[],
            finds: &["PT101"],
        },
        play: |play| {
            Box::pin(misplaced(
                play,
                PodKind::Plain,
                NamespaceKind::Net,
                Join::New,
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "host-net",
            title: "a container is in the node's network namespace, which its pod did not request",
            proves: &[],
            finds: &["PT101"],
        },
        play: |play| {
            Box::pin(misplaced(
                play,
                PodKind::Plain,
                NamespaceKind::Net,
                Join::Host,
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "stale-net",
            title: "a container joins by a path that still leads to the network namespace of a former sandbox",
            proves: &[],
            finds: &["PT101"],
        },
        play: |play| Box::pin(stale_net(play)),
    },
    Script {
        scenario: Scenario {
            name: "neighbours-net",
            title: "a container joins by a path that now leads to the network namespace of another pod",
            proves: &[],
            finds: &["PT101"],
        },
        play: |play| Box::pin(neighbours_net(play)),
    },
    Script {
        scenario: Scenario {
            name: "own-ipc",
            title: "a container has an ipc namespace of its own instead of the pod's",
            proves: &[],
            finds: &["PT102"],
        },
        play: |play| {
            Box::pin(misplaced(
                play,
                PodKind::Plain,
                NamespaceKind::Ipc,
                Join::New,
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "host-ipc",
            title: "a container is in the node's ipc namespace, which its pod did not request",
            proves: &[],
            finds: &["PT102"],
        },
        play: |play| {
            Box::pin(misplaced(
                play,
                PodKind::Plain,
                NamespaceKind::Ipc,
                Join::Host,
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "own-uts",
            title: "a container has a host name of its own instead of the pod's",
            proves: &[],
            finds: &["PT103"],
        },
        play: |play| {
            Box::pin(misplaced(
                play,
                PodKind::Plain,
                NamespaceKind::Uts,
                Join::New,
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "host-uts",
            title: "a container has the node's host name instead of the pod's",
            proves: &[],
            finds: &["PT103"],
        },
        play: |play| {
            Box::pin(misplaced(
                play,
                PodKind::Plain,
                NamespaceKind::Uts,
                Join::Host,
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "own-pid-in-shared",
            title: "shareProcessNamespace: a container has a pid namespace of its own nevertheless",
            proves: &[],
            finds: &["PT104"],
        },
        play: |play| {
            Box::pin(misplaced(
                play,
                PodKind::SharedPid,
                NamespaceKind::Pid,
                Join::New,
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "host-pid",
            title: "a container is in the node's pid namespace, which its pod did not request",
            proves: &[],
            finds: &["PT104"],
        },
        play: |play| {
            Box::pin(misplaced(
                play,
                PodKind::Plain,
                NamespaceKind::Pid,
                Join::Host,
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "target-joined-pause",
            title: "an ephemeral container joins the pid namespace of pause instead of its target's",
            proves: &[],
            finds: &["PT104"],
        },
        play: |play| Box::pin(target_joined_pause(play)),
    },
    Script {
        scenario: Scenario {
            name: "host-users",
            title: "hostUsers: false: the root of a container is the node's root nevertheless",
            proves: &[],
            finds: &["PT106"],
        },
        play: |play| {
            Box::pin(misplaced(
                play,
                PodKind::OwnUsers,
                NamespaceKind::User,
                Join::Host,
            ))
        },
    },
    Script {
        scenario: Scenario {
            name: "shared-mount",
            title: "a container is in the mount namespace of another",
            proves: &[],
            finds: &["PT107"],
        },
        play: |play| Box::pin(shared_mount(play)),
    },
    Script {
        scenario: Scenario {
            name: "host-mount",
            title: "a container is in the node's mount namespace, with all its files",
            proves: &[],
            finds: &["PT107"],
        },
        play: |play| Box::pin(host_mount(play)),
    },
    Script {
        scenario: Scenario {
            name: "join-failed",
            title: "the path of a container's network namespace leads to another kind of namespace: setns fails",
            proves: &[],
            finds: &["PT111"],
        },
        play: |play| Box::pin(join_failed(play)),
    },
];

/// A container in a namespace other than its pod requests.
async fn misplaced(
    play: &Play<'_>,
    pod: PodKind,
    kind: NamespaceKind,
    to: Join,
) -> Result<String, PlayError> {
    let (pod, app) = pod_with_app(play, pod, |plan| with(plan, kind, to)).await?;
    let name = kind.name();
    let (its, pauses) = (
        namespace(&pod, app.process, kind),
        namespace(&pod, pod.pause()?, kind),
    );
    pod.finish().await?;
    Ok(format!("{name} {its}, the pause's is {name} {pauses}"))
}

fn with(mut plan: ContainerPlan, kind: NamespaceKind, join: Join) -> ContainerPlan {
    let spaces = &mut plan.plan;
    *match kind {
        NamespaceKind::Net => &mut spaces.net,
        NamespaceKind::Ipc => &mut spaces.ipc,
        NamespaceKind::Uts => &mut spaces.uts,
        NamespaceKind::Pid => &mut spaces.pid,
        NamespaceKind::User => &mut spaces.user,
        NamespaceKind::Mnt => &mut spaces.mount,
        NamespaceKind::Cgroup => return plan,
    } = join;
    plan
}

async fn stale_net(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let former = pod.pause()?;
    let (inode, stale) = (
        namespace(&pod, former, NamespaceKind::Net),
        Pinned::of(former, NamespaceKind::Net)?,
    );
    pod.inner()
        .signal(former.pid as i32, nix::sys::signal::Signal::SIGTERM)
        .await?;
    pod.ended(former).await?;
    let pause = pod.replace_sandbox().await?;
    let app = built_as(&mut pod, "app", |plan| {
        with(plan, NamespaceKind::Net, stale.join())
    })
    .await?;
    play.blame(app.process);
    let now = namespace(&pod, pause, NamespaceKind::Net);
    pod.finish().await?;
    Ok(format!(
        "net {inode} of the former sandbox, the pod's is net {now}"
    ))
}

async fn neighbours_net(play: &Play<'_>) -> Result<String, PlayError> {
    let neighbour = play.pod(PodKind::Plain).await?;
    let theirs = neighbour.pause()?;
    let (pod, app) = pod_with_app(play, PodKind::Plain, |plan| {
        with(plan, NamespaceKind::Net, join_of(theirs, "net"))
    })
    .await?;
    let (its, pauses) = (
        namespace(&pod, app.process, NamespaceKind::Net),
        namespace(&pod, pod.pause()?, NamespaceKind::Net),
    );
    tokio::try_join!(pod.finish(), neighbour.finish())?;
    Ok(format!("net {its} of another pod, its own is net {pauses}"))
}

async fn target_joined_pause(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app").await?;
    let pause = pod.pause()?;
    let modes = Modes {
        pid: Mode::Target(app.id.clone()),
        ..pod.modes.clone()
    };
    let edit = |plan| with(plan, NamespaceKind::Pid, join_of(pause, "pid"));
    let debugger = pod
        .container_as("debugger", ContainerKind::Ephemeral, modes, edit)
        .await?;
    play.blame(debugger.process);
    let (its, targets) = (
        namespace(&pod, debugger.process, NamespaceKind::Pid),
        namespace(&pod, app.process, NamespaceKind::Pid),
    );
    pod.finish().await?;
    Ok(format!(
        "pid {its} is the pause's, the target's is {targets}"
    ))
}

async fn shared_mount(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app").await?;
    let edit = |plan| with(plan, NamespaceKind::Mnt, join_of(app.process, "mnt"));
    let sidecar = built_as(&mut pod, "sidecar", edit).await?;
    play.blame(sidecar.process);
    let mnt = namespace(&pod, sidecar.process, NamespaceKind::Mnt);
    pod.finish().await?;
    Ok(format!("mnt {mnt} of 2 containers"))
}

async fn host_mount(play: &Play<'_>) -> Result<String, PlayError> {
    let program = std::env::current_exe()
        .map_err(|source| PlayError::io("find this executable".to_owned(), source))?;
    let edit = |mut plan: ContainerPlan| {
        // By path: executed through a descriptor, the program would look like the runtime itself.
        plan.plan.program = Program::Path(program);
        with(plan, NamespaceKind::Mnt, Join::Host)
    };
    let (pod, app) = pod_with_app(play, PodKind::Plain, edit).await?;
    let mnt = namespace(&pod, app.process, NamespaceKind::Mnt);
    pod.finish().await?;
    Ok(format!("mnt {mnt} is the node's"))
}

async fn join_failed(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let pause = pod.pause()?;
    let refused = built_as(&mut pod, "app", |plan| {
        with(plan, NamespaceKind::Net, join_of(pause, "ipc"))
    })
    .await;
    let errno = match &refused {
        Err(PlayError::Refused { errno, .. }) => Some(*errno),
        _ => None,
    };
    if errno != Some(Errno::EINVAL) {
        let what = "the kernel accepted an ipc namespace as a net namespace";
        return Err(refused
            .err()
            .unwrap_or_else(|| PlayError::Unexpected(what.to_owned())));
    }
    let finding = play.found("PT111").await?;
    if !finding
        .details
        .message
        .contains("setns(net) failed with EINVAL")
    {
        return Err(PlayError::Unexpected(format!(
            "PT111 says {}",
            finding.details.message
        )));
    }
    pod.finish().await?;
    Ok("setns(net): EINVAL".to_owned())
}
