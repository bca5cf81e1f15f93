//! Plugins of which it is known what they were asked to do.

use super::{index, phrases as phrases_of};
use crate::{
    event::{
        Called, CniCommand, CniRequest, Comm, ContainerKind, Event, Fact, Request, Text, WaitStatus,
    },
    timeline::testing::*,
};

/// The recorded start, of which each plugin is asked for what it does: the bridge
/// exits with `status`.
fn asked(status: WaitStatus) -> Vec<Event> {
    let mut events = recorded();
    let sandbox = events.iter().find_map(|event| match &event.fact {
        Fact::Container(fact) if fact.what == ContainerKind::Sandbox => Some(fact.clone()),
        _ => None,
    });
    let sandbox = sandbox.expect("it has a sandbox");
    let request = Request::Cni(CniRequest {
        command: CniCommand::Add,
        sandbox: Text::new(&sandbox.container),
        interface: Text::new("eth0"),
        namespace: Text::new("default"),
        name: Text::new("web"),
        uid: Text::new(&sandbox.pod),
        ..CniRequest::default()
    });
    let is_plugin = |file: &Text| {
        let name = file.base_name().to_string();
        matches!(&name[..], "bridge" | "loopback" | "host-local")
    };
    let mut at = 0;
    while at < events.len() {
        let process = match &mut events[at].fact {
            Fact::Exec { task, file } if is_plugin(file) => task.process,
            Fact::Exit {
                task,
                status: ended,
            } if task.process.pid == BRIDGE => {
                *ended = status;
                at += 1;
                continue;
            }
            // The namespace says nothing of it.
            Fact::NamespaceChange { task, .. } if task.comm == Comm::new("bridge") => {
                events.remove(at);
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        let fact = Fact::Called(Called {
            process,
            request: request.clone(),
        });
        let time = events[at].time;
        events.insert(at, Event { time, fact });
        at += 2;
    }
    events
}

#[test]
fn a_plugin_belongs_to_the_pod_that_it_is_asked_to_work_for() {
    let timeline = only(&asked(WaitStatus::exited(0)));
    let phrases = phrases_of(&timeline);
    for plugin in [
        "CNI bridge ADD eth0",
        "CNI loopback ADD eth0",
        "CNI   host-local ADD eth0",
    ] {
        let count = phrases.iter().filter(|phrase| *phrase == plugin).count();
        assert_eq!(count, 1, "{plugin}: {phrases:#?}");
    }
    let failed = only(&asked(WaitStatus::exited(7)));
    index(&phrases_of(&failed), "CNI bridge ADD eth0, exit code 7");
}

#[test]
fn a_plugin_that_is_asked_to_work_for_another_pod_is_not_this_pods() {
    let mut events = asked(WaitStatus::exited(0));
    for event in &mut events {
        if let Fact::Called(Called {
            request: Request::Cni(request),
            ..
        }) = &mut event.fact
        {
            request.sandbox = Text::new("of-another");
            request.uid = Text::new("another");
            request.name = Text::new("another");
        }
    }
    let timelines = all(&events);
    let of = |name: &str| {
        let timeline = timelines
            .iter()
            .find(|one| one.title() == format!("default/{name}"));
        phrases_of(timeline.expect("it is known"))
    };
    assert!(!of("web").iter().any(|phrase| phrase.contains("bridge")));
    index(&of("another"), "CNI bridge ADD eth0");
}

#[test]
fn a_pod_of_which_only_the_network_was_tried_has_a_timeline() {
    let mut events = asked(WaitStatus::exited(7));
    events.retain(|event| {
        !matches!(
            &event.fact,
            Fact::Pod(_) | Fact::Container(_) | Fact::PodRemoved { .. }
        )
    });
    let timeline = only(&events);
    assert_eq!(timeline.title(), "default/web");
    assert!(timeline.began.is_some() && timeline.up.is_none());
    index(&phrases_of(&timeline), "CNI bridge ADD eth0, exit code 7");
}

#[test]
fn what_a_plugin_starts_from_elsewhere_is_no_plugin() {
    let mut events = asked(WaitStatus::exited(0));
    for event in &mut events {
        if let Fact::Exec { file, .. } = &mut event.fact
            && file.0.ends_with(b"/host-local")
        {
            *file = Text::new("/usr/sbin/iptables");
        }
    }
    let phrases = phrases_of(&only(&events));
    assert!(phrases.contains(&"iptables".to_owned()), "{phrases:#?}");
}
