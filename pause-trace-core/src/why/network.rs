//! A network that is not set up, and ports that nobody listens on.

use super::{
    case::{Case, Container, Run},
    cause::{Cause, Reason},
    start::{MAX_SHOWN, described},
    stop,
};
use crate::verdict::Age;

pub(super) fn reasons(case: &Case, reasons: &mut Vec<Reason>) {
    if stop::is_stopping(case) {
        reasons.extend(guests(case));
    }
    let Some(network) = &case.network else {
        return;
    };
    if case.work.iter().any(|work| work.kind.is_start()) {
        return; // the network is being set up, or the containers are
    }
    // Without a runtime that lists the sandbox, it may be a pod that was made without a network.
    let is_kubernetes = !case.sandboxes.is_empty();
    if is_kubernetes && (!network.is_loopback_up || network.addresses.is_empty()) {
        let what = match network.is_loopback_up {
            true => "has no address but loopback's",
            false => "has no loopback that is up",
        };
        reasons.push(Reason {
            cause: Cause::NoNetwork,
            containers: Vec::new(),
            sentence: format!("the pod's network namespace {what}: the network was not set up"),
            evidence: Vec::new(),
            next: "see the runtime's log for the CNI plugins; `pause-trace inspect` shows \
                   interfaces and routes"
                .to_owned(),
        });
    }
    let members = case.containers.iter().filter(|one| !one.is_sandbox());
    let running: Vec<_> = members.filter(|one| one.is_running()).collect();
    if running.is_empty() {
        return;
    }
    let outside = network.listeners.iter().filter(|one| !one.is_loopback);
    if outside.count() > 0 {
        return;
    }
    let (sentence, next) = match network.listeners.is_empty() {
        true => (
            "no process listens on a TCP port in the pod's network namespace: connections are \
             refused, and so are TCP, HTTP and gRPC probes",
            "a server has not bound its port yet, or has closed it: see its log. `pause-trace \
             inspect` shows UDP ports",
        ),
        false => (
            "the pod's processes listen on loopback only: connections from outside the pod are \
             refused, and so are the kubelet's TCP, HTTP and gRPC probes",
            "let the server listen on all addresses (0.0.0.0 or ::) instead of on localhost",
        ),
    };
    let listeners = network.listeners.iter();
    reasons.push(Reason {
        cause: Cause::NotListening,
        containers: Vec::new(),
        sentence: sentence.to_owned(),
        evidence: running
            .into_iter()
            .filter_map(running_for)
            .chain(listeners.map(|one| match &one.by {
                Some(by) => format!("{by} listens on {}", one.address),
                None => format!("listens on {}", one.address),
            }))
            .take(MAX_SHOWN)
            .collect(),
        next: next.to_owned(),
    });
}

/// `app has run for 4.02 s`
fn running_for(container: &Container) -> Option<String> {
    let Run::Running { age } = container.run else {
        return None;
    };
    Some(format!("{} has run for {}", container.title, Age(age)))
}

/// Processes that keep the namespaces of a pod that is being removed.
fn guests(case: &Case) -> Option<Reason> {
    let first = case.guests.first()?;
    Some(Reason {
        cause: Cause::Guests,
        containers: Vec::new(),
        sentence: format!(
            "{} (pid {}) is not in a container of the pod and is in its network namespace, which \
             lives until it leaves",
            first.comm, first.pid
        ),
        evidence: case.guests.iter().take(MAX_SHOWN).map(described).collect(),
        next: "a shell that somebody opened with nsenter or `ip netns exec` is often forgotten"
            .to_owned(),
    })
}
