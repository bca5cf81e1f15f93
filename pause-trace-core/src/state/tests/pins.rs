//! Network namespaces that are pinned when their pod goes.

use super::*;

const PIN: Ktime = 5_000 * MS;

/// A pod that was removed, with its network pinned.
fn removed() -> World {
    let mut world = World::new();
    world.state.limits.pin = PIN;
    world.tell(Fact::NamespacePinned {
        path: Text::new("/run/netns/cni-1"),
        namespace: 70,
        sandbox: Some("sandbox".into()),
    });
    world.tell(Fact::PodRemoved { pod: "p".into() });
    world
}

fn is_due(changes: &[Change]) -> bool {
    changes.contains(&Change::RemovalDue("p".into()))
}

#[test]
fn a_removal_waits_for_the_network_and_no_longer_than_that() {
    let mut world = removed();
    assert!(!is_due(&world.wait(2_000 * MS)));
    let changes = world.tell(Fact::NamespaceUnpinned {
        path: Text::new("/run/netns/cni-1"),
    });
    assert!(is_due(&changes));
}

#[test]
fn a_network_that_stays_is_waited_for_until_the_limit() {
    let mut world = removed();
    assert!(!is_due(&world.wait(PIN - MS)));
    assert!(is_due(&world.wait(2 * MS)));
    assert!(!is_due(&world.wait(PIN)), "once");
}

#[test]
fn one_that_goes_at_once_leaves_the_usual_time() {
    let mut world = removed();
    world.tell(Fact::NamespaceUnpinned {
        path: Text::new("/run/netns/cni-1"),
    });
    assert!(!is_due(&world.wait(900 * MS)));
    assert!(is_due(&world.wait(200 * MS)));
}
