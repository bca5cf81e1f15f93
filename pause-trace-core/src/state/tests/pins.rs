//! Network namespaces that are still pinned when their pod is removed.

use super::*;

const PIN: Ktime = 5_000 * MS;

/// A pod that was removed, with its network pinned.
fn removed() -> World {
    let mut world = World::new();
    world.state.limits.pin = PIN;
    world.apply(Fact::NamespacePinned {
        path: Text::new("/run/netns/cni-1"),
        namespace: 70,
        sandbox: Some("sandbox".into()),
    });
    world.apply(Fact::PodRemoved { pod: "p".into() });
    world
}

fn is_due(changes: &[Change]) -> bool {
    changes.contains(&Change::RemovalDue("p".into()))
}

#[test]
fn a_removal_waits_until_the_network_is_unpinned() {
    let mut world = removed();
    assert!(!is_due(&world.wait(2_000 * MS)));
    let changes = world.apply(Fact::NamespaceUnpinned {
        path: Text::new("/run/netns/cni-1"),
    });
    assert!(is_due(&changes));
}

#[test]
fn a_removal_waits_for_a_network_up_to_the_limit() {
    let mut world = removed();
    assert!(!is_due(&world.wait(PIN - MS)));
    assert!(is_due(&world.wait(2 * MS)));
    assert!(!is_due(&world.wait(PIN)), "a removal is due once");
}

#[test]
fn a_network_that_is_unpinned_at_once_does_not_shorten_the_limit() {
    let mut world = removed();
    world.apply(Fact::NamespaceUnpinned {
        path: Text::new("/run/netns/cni-1"),
    });
    assert!(!is_due(&world.wait(900 * MS)));
    assert!(is_due(&world.wait(200 * MS)));
}
