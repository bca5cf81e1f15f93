//! What holds a pod of which nothing runs.

use super::*;

fn holder(what: Held, others: usize) -> Holder {
    Holder {
        what,
        process: process(77, "agent"),
        others,
    }
}

fn mounts(count: usize, is_nodes: bool) -> Held {
    Held::Mounts {
        paths: vec!["/var/lib/kubelet/pods/u/volumes/x".to_owned(); count.min(8)],
        count,
        is_nodes,
    }
}

fn namespace(open: Option<&str>) -> Held {
    Held::Namespace {
        kind: "net",
        inode: 4_026_532_252,
        open: open.map(str::to_owned),
    }
}

/// A pod whose processes have all ended, and what holds it.
fn held(holders: Vec<Holder>) -> Explanation {
    changed(|case| {
        case.sandboxes[0].is_ready = false;
        case.network = None;
        for container in &mut case.containers {
            container.processes.clear();
            container.run = Run::Ended(ended(0));
        }
        case.holders = holders;
    })
}

#[test]
fn a_pod_of_which_nothing_is_left_has_no_reason() {
    assert_eq!(causes(&held(vec![])), []);
}

#[test]
fn mounts_in_another_mount_namespace_are_held_and_those_of_the_node_are_left() {
    let explanation = held(vec![holder(mounts(1, false), 2)]);
    assert_eq!(causes(&explanation), [Cause::MountHeld]);
    assert!(explanation.is_problem());
    let reason = &explanation.reasons[0];
    assert_eq!(
        reason.sentence,
        "every process of the pod has ended, and a mount of it is held in the mount namespace of \
         agent (pid 77) and 2 others"
    );
    assert_eq!(reason.evidence[0], "/var/lib/kubelet/pods/u/volumes/x");
    assert!(reason.evidence[1].starts_with("agent (pid 77, state S"));
    let explanation = held(vec![holder(mounts(12, true), 0)]);
    assert_eq!(causes(&explanation), [Cause::MountLeft]);
    assert!(
        !explanation.is_problem(),
        "the kubelet may be about to unmount it"
    );
    let reason = &explanation.reasons[0];
    assert_eq!(
        reason.sentence,
        "every process of the pod has ended, and 12 mounts of it are left on the node"
    );
    assert_eq!(
        reason.evidence.last().map(String::as_str),
        Some("and 4 more")
    );
}

#[test]
fn who_keeps_a_namespace_is_named_with_the_file() {
    let explanation = held(vec![holder(namespace(Some("/proc/77/fd/3")), 0)]);
    assert_eq!(causes(&explanation), [Cause::NamespaceHeld]);
    assert_eq!(
        explanation.reasons[0].sentence,
        "every process of the pod has ended, and agent (pid 77) keeps its net namespace \
         4026532252: agent has it open as /proc/77/fd/3"
    );
    let explanation = held(vec![holder(namespace(None), 1)]);
    assert_eq!(
        explanation.reasons[0].sentence,
        "every process of the pod has ended, and agent (pid 77) and 1 other keep its net \
         namespace 4026532252: agent is in it"
    );
    let pin = Held::Pin {
        path: "/run/netns/cni-1".to_owned(),
    };
    let explanation = held(vec![holder(pin, 0)]);
    assert_eq!(causes(&explanation), [Cause::MountLeft]);
}

#[test]
fn a_pod_that_runs_or_starts_holds_itself() {
    let all = || {
        vec![
            holder(mounts(3, true), 0),
            holder(mounts(3, false), 0),
            holder(namespace(None), 0),
        ]
    };
    assert_eq!(causes(&changed(|case| case.holders = all())), []);
    // Of the pause alone as well.
    let explanation = changed(|case| {
        case.containers.pop();
        case.network = None;
        case.holders = all();
    });
    assert_eq!(causes(&explanation), [Cause::NoContainer]);
    let mut starting = changed(|case| {
        case.containers.clear();
        case.sandboxes.clear();
        case.network = None;
        case.work = vec![plugin(CniCommand::Add, S / 2)];
        case.holders = all();
    });
    starting
        .reasons
        .retain(|reason| reason.cause != Cause::StartSlow);
    assert_eq!(causes(&starting), []);
}
