//! Faults of sandboxes with the wrong namespaces, or with a network that is not set up.

use super::namespace;
use crate::{
    event::{NamespaceKind, Observed},
    playing::PlayError,
    reference::{
        bystander::Bystander,
        protocol::{Answer, Join, Request},
        scenario::Script,
        stage::{Play, PodKind, ReferencePod, Started},
    },
    scenario::Scenario,
};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "sandbox-host-net",
            title: "a sandbox and its containers are in the node's network namespace",
            proves: &[],
            finds: &["PT105"],
        },
        play: |play| Box::pin(leaking_sandbox(play, NamespaceKind::Net)),
    },
    Script {
        scenario: Scenario {
            name: "sandbox-host-ipc",
            title: "a sandbox and its containers are in the node's ipc namespace",
            proves: &[],
            finds: &["PT105"],
        },
        play: |play| Box::pin(leaking_sandbox(play, NamespaceKind::Ipc)),
    },
    Script {
        scenario: Scenario {
            name: "net-not-owned",
            title: "hostUsers: false: the network namespace was created before the user namespace, and is owned by the node's",
            proves: &[],
            finds: &["PT106"],
        },
        play: |play| Box::pin(net_not_owned(play)),
    },
    Script {
        scenario: Scenario {
            name: "no-network",
            title: "a container runs before its pod's network is up",
            proves: &[],
            finds: &["PT113"],
        },
        play: |play| Box::pin(no_network(play)),
    },
    Script {
        scenario: Scenario {
            name: "network-lost",
            title: "a running pod loses its address",
            proves: &[],
            finds: &["PT114"],
        },
        play: |play| Box::pin(network_lost(play)),
    },
];

async fn leaking_sandbox(play: &Play<'_>, kind: NamespaceKind) -> Result<String, PlayError> {
    let mut plan = PodKind::Plain.plan(play.stage.pause.clone());
    *if kind == NamespaceKind::Net {
        &mut plan.sandbox.net
    } else {
        &mut plan.sandbox.ipc
    } = Join::Host;
    let mut pod = play.prepare_as(PodKind::Plain, plan).await?;
    let pause = pod.start_sandbox().await?;
    play.blame(pause);
    let _app = pod.container("app").await?;
    let its = namespace(&pod, pause, kind);
    pod.finish().await?;
    Ok(format!("{} {its} is the node's", kind.name()))
}

async fn net_not_owned(play: &Play<'_>) -> Result<String, PlayError> {
    // Like a runtime that sets up the network first.
    let maker = Bystander::start(play, &["make", "net"]).await?;
    let mut plan = PodKind::OwnUsers.plan(play.stage.pause.clone());
    plan.sandbox.net = Join::Path(maker.namespace("net"));
    let mut pod = play.prepare_as(PodKind::OwnUsers, plan).await?;
    let pause = pod.start_sandbox().await?;
    play.blame(pause);
    let namespaces = pod
        .live()
        .read(|core| {
            core.state
                .processes
                .get(pause)
                .map(|pause| pause.namespaces)
        })
        .unwrap_or_default();
    pod.finish().await?;
    Ok(format!(
        "net {} is owned by user {}, the pod's is user {}",
        namespaces.net, namespaces.net_owner, namespaces.user
    ))
}

async fn no_network(play: &Play<'_>) -> Result<String, PlayError> {
    let mut plan = PodKind::Plain.plan(play.stage.pause.clone());
    plan.sandbox.address = None;
    let mut pod = play.prepare_as(PodKind::Plain, plan).await?;
    pod.start_sandbox().await?;
    let app = pod.container("app").await?;
    let Answer::Addresses(addresses) = app.ask(Request::Addresses).await? else {
        return Err(PlayError::Unexpected(
            "the container did not report its addresses".to_owned(),
        ));
    };
    let count = addresses.len();
    pod.observe(
        &app,
        Observed::NetworkReady,
        count > 0,
        &format!("{count} addresses"),
    );
    pod.finish().await?;
    Ok(format!("{count} addresses, lo is down"))
}

async fn network_lost(play: &Play<'_>) -> Result<String, PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app").await?;
    let before = observe_network(&pod, &app).await?;
    // As a process with CAP_NET_ADMIN can do it. The alias has the pod's address.
    let interface = "lo:1".to_owned();
    app.ask(Request::TakeDown { interface }).await?;
    observe_network(&pod, &app).await?;
    let after = observe_network(&pod, &app).await?;
    pod.finish().await?;
    Ok(format!("{before} addresses before, {after} after"))
}

/// Looks at a pod's network from inside a container. Returns the number of addresses.
async fn observe_network(pod: &ReferencePod<'_>, app: &Started) -> Result<usize, PlayError> {
    let Answer::Addresses(addresses) = app.ask(Request::Addresses).await? else {
        return Err(PlayError::Unexpected(
            "the container did not report its addresses".to_owned(),
        ));
    };
    let outer = addresses.iter().filter(|address| !address.is_loopback());
    let outer: Vec<_> = outer.map(ToString::to_string).collect();
    let detail = match outer.is_empty() {
        true => "no address but loopback's".to_owned(),
        false => outer.join(", "),
    };
    pod.observe(app, Observed::NetworkReady, !outer.is_empty(), &detail);
    Ok(addresses.len())
}
