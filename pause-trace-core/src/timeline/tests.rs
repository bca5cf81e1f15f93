//! Which elements a timeline has, and to which pod each is attributed.

mod asked;
mod listen;
mod output;

use serde_json::Value as Json;

use super::{critical::Critical, model::ElementKind, testing::*, words, *};
use crate::{
    event::{Comm, Event, Fact, ProcessId},
    text::TextStyle,
};

/// The phrases of all elements, in order.
fn phrases(timeline: &Timeline) -> Vec<String> {
    timeline
        .elements
        .iter()
        .map(|element| words::phrase(timeline, element))
        .collect()
}

#[track_caller]
fn index(phrases: &[String], begins: &str) -> usize {
    let found = phrases.iter().position(|phrase| phrase.starts_with(begins));
    found.unwrap_or_else(|| panic!("nothing begins \"{begins}\": {phrases:#?}"))
}

#[test]
fn a_real_start_has_all_its_elements_in_their_order() {
    let timeline = only(&recorded());
    let phrases = phrases(&timeline);
    let order = [
        "creates net 4026532247: containerd (14315), in thread 14344",
        "CNI bridge",
        "CNI loopback",
        "CNI   host-local",
        "containerd-shim-runc-v2",
        "pause · create",
        "pause · cgroup created",
        "pause · cgroup entered by runc (14394)",
        "pause · joins the pod's net 4026532247",
        "pause · creates ipc 4026532321 uts 4026532320 pid 4026532322 mnt 4026532319",
        "pause · runs /pause",
        "app · create",
        "app · cgroup created",
        "app · joins the pod's ipc 4026532321",
        "app · joins the pod's uts 4026532320",
        "app · joins the pod's net 4026532247",
        "app · creates pid 4026532324 mnt 4026532323",
        "app · runs /bin/sleep",
        "pause · SIGKILL from shell (14309) to pause (14399)",
        "pause · killed by SIGKILL: pause (14399)",
        "removed",
        "pause · reaped after 1.11 s",
    ];
    let found: Vec<_> = order.iter().map(|begins| index(&phrases, begins)).collect();
    assert!(found.is_sorted(), "{found:?} {phrases:#?}");
    assert!(timeline.lost.is_empty() && !timeline.is_cut);
    // The shim that is started for the second container finds the first one and exits without a
    // trace of the pod.
    assert_eq!(timeline.unassigned.len(), 1, "{:#?}", timeline.unassigned);
}

#[test]
fn a_process_that_is_its_own_ancestor_ends_no_walk() {
    let mut events = recorded();
    let pause = events.iter().find_map(|event| match &event.fact {
        Fact::Exec { task, file } if file.0.ends_with(b"/pause") => Some(task.process),
        _ => None,
    });
    for event in &mut events {
        if let Fact::Fork { task } | Fact::Exec { task, .. } | Fact::Exit { task, .. } =
            &mut event.fact
            && (task.comm.to_string().starts_with("containerd-shim")
                || task.comm == Comm::new("shim"))
        {
            task.parent = pause.expect("the pause executes");
        }
    }
    assert!(!phrases(&only(&events)).is_empty());
}

#[test]
fn every_element_has_evidence() {
    let timeline = only(&recorded());
    for element in &timeline.elements {
        assert!(words::evidence(&element.evidence).is_some(), "{element:?}");
    }
    assert_eq!(words::evidence(&timeline.unassigned[0].evidence), None);
}

#[test]
fn a_runtime_that_executes_itself_in_the_cgroup_is_not_an_entrypoint() {
    // On a busy machine `runc init` is in the cgroup before it executes its copy.
    let timeline = only(&edited(|line| {
        if line["fact"] == "exec" && line["file"] == "/dev/fd/6" {
            line["cgroup"] = if line["process"]["pid"] == 14394 {
                1345510
            } else {
                APP_CGROUP
            }
            .into();
        }
        true
    }));
    let sorted = |timeline: &Timeline| {
        let mut sorted = phrases(timeline);
        sorted.sort();
        sorted
    };
    assert_eq!(sorted(&timeline), sorted(&only(&recorded())));
}

#[test]
fn two_pods_that_start_at_once_do_not_mix() {
    let mut events = recorded();
    events.extend(twin(700_000));
    let [db, web] = &all(&events)[..] else {
        panic!("two pods")
    };
    let alone = only(&recorded());
    assert_eq!(phrases(web), phrases(&alone));
    let pids = |timeline: &Timeline| -> Vec<u32> {
        let plugins = timeline
            .elements
            .iter()
            .filter(|element| matches!(element.what, ElementKind::Plugin { .. }));
        plugins
            .filter_map(|element| Some(element.process?.id.pid))
            .collect()
    };
    assert_eq!(pids(web), [14352, 14353, 14359]);
    assert_eq!(pids(db), [1014352, 1014353, 1014359]);
    // Either pod may have started each of the two shims that left no trace.
    assert_eq!((web.unassigned.len(), db.unassigned.len()), (2, 2));
}

#[test]
fn a_plugin_that_enters_no_namespace_is_unassigned() {
    // portmap with no ports to map does nothing.
    let events =
        edited(|line| line["fact"] != "namespace_change" || line["process"]["pid"] != BRIDGE);
    let timeline = only(&events);
    let names: Vec<_> = timeline
        .unassigned
        .iter()
        .map(|element| words::phrase(&timeline, element))
        .collect();
    assert_eq!(names, ["bridge", "containerd-shim-runc-v2"]);
    assert!(
        !phrases(&timeline)
            .iter()
            .any(|phrase| phrase.contains("bridge") || phrase.contains("host-local"))
    );
}

#[test]
fn a_process_that_entered_a_reused_namespace_number_earlier_is_another_pods() {
    let mut events = recorded();
    // A plugin of an earlier pod, whose namespace had the same number.
    let old = ProcessId { pid: 999, start: 5 };
    for mut event in edited(|line| line["process"]["pid"] == 14353) {
        event.time -= 300_000_000;
        match &mut event.fact {
            Fact::Fork { task }
            | Fact::Exec { task, .. }
            | Fact::Exit { task, .. }
            | Fact::NamespaceChange { task, .. } => task.process = old,
            Fact::Reaped { process } => *process = old,
            _ => {}
        }
        events.push(event);
    }
    assert_eq!(phrases(&only(&events)), phrases(&only(&recorded())));
}

#[test]
fn a_pod_on_the_hosts_network_has_no_plugins() {
    let timeline = only(&edited(|line| {
        if line["namespaces"]["net"] == NET {
            line["namespaces"]["net"] = HOST_NET.into();
        }
        true
    }));
    assert!(
        !timeline
            .elements
            .iter()
            .any(|element| matches!(element.what, ElementKind::Plugin { .. }))
    );
    assert!(timeline.up.is_some());
}

/// The loader may be in a network namespace of its own. The host's is the one of the runtime.
#[test]
fn the_hosts_network_is_that_of_the_runtime() {
    let host_network = |loader: u32| {
        only(&edited(|line| {
            if line["namespaces"]["net"] == NET {
                line["namespaces"]["net"] = HOST_NET.into();
            }
            if line["fact"] == "host" {
                line["namespaces"]["net"] = loader.into();
            }
            true
        }))
    };
    let joins = format!("app · joins the host's net {HOST_NET}");
    for loader in [HOST_NET, 4_026_531_840] {
        let timeline = host_network(loader);
        assert!(phrases(&timeline).contains(&joins), "{timeline:?}");
        let plugin = |element: &Element| matches!(element.what, ElementKind::Plugin { .. });
        assert!(!timeline.elements.iter().any(plugin), "{loader}");
    }
}

#[test]
fn a_refused_join_is_shown_with_its_error() {
    let timeline = only(&edited(|line| {
        if line["fact"] == "namespace_change"
            && line["process"]["pid"] == 14433
            && line["flags"] == 0x0800_0000
        {
            line["errno"] = 1.into();
        }
        true
    }));
    assert!(phrases(&timeline).contains(&"app · is refused ipc: EPERM".to_owned()));
}

/// `runc exec`, as in the container of the recording.
fn session() -> Vec<Event> {
    let at = |ms: u64, is_it: fn(&Json) -> bool, pid: u32, parent: u64, edit: fn(&mut Json)| {
        like(is_it, |line| {
            line["time"] = (24_510_000_000_000 + ms * 1_000_000).into();
            line["process"] = serde_json::json!({ "pid": pid, "start": 7 });
            if parent == SHIM {
                line["parent"] = serde_json::json!({ "pid": SHIM, "start": 24503508401379_u64 });
            } else {
                line["parent"] = serde_json::json!({ "pid": parent, "start": 7 });
            }
            edit(line);
        })
    };
    let fork = |line: &Json| line["fact"] == "fork" && line["process"]["pid"] == 14423;
    let runc = |line: &Json| line["fact"] == "exec" && line["process"]["pid"] == 14423;
    let child = |line: &Json| line["fact"] == "fork" && line["process"]["pid"] == 14433;
    let join = |line: &Json| line["fact"] == "namespace_change" && line["process"]["pid"] == 14433;
    let attach = |line: &Json| line["fact"] == "cgroup_attached" && line["process"]["pid"] == 14432;
    let exec = |line: &Json| line["fact"] == "exec" && line["process"]["pid"] == APP;
    let exit = |line: &Json| line["fact"] == "exit" && line["process"]["pid"] == 14433;
    let reaped = |line: &Json| line["fact"] == "reaped" && line["process"]["pid"] == 14433;
    let outside = |line: &mut Json| line["cgroup"] = 1345434.into();
    let true_ = |line: &mut Json| line["file"] = "/bin/true".into();
    vec![
        at(0, fork, 20000, SHIM, |_| {}),
        at(1, runc, 20000, SHIM, |_| {}),
        at(2, child, 20001, 20000, outside),
        at(3, join, 20001, 20000, outside),
        at(4, attach, 20001, 20000, |_| {}),
        at(5, exec, 20001, 20000, true_),
        // What it forks in the container is not part of the timeline.
        at(6, child, 20002, 20001, |_| {}),
        at(7, exec, 20002, 20001, true_),
        at(8, exit, 20002, 20001, |_| {}),
        at(9, exit, 20001, 20000, |_| {}),
        at(10, reaped, 20001, 20000, |_| {}),
    ]
}

#[test]
fn a_session_is_not_a_second_entrypoint() {
    let mut events = recorded();
    events.extend(session());
    let timeline = only(&events);
    let sessions: Vec<_> = timeline
        .elements
        .iter()
        .filter(|element| matches!(element.what, ElementKind::Session { .. }))
        .collect();
    let [session] = &sessions[..] else {
        panic!("one session: {sessions:#?}")
    };
    assert_eq!(session.process.map(|process| process.id.pid), Some(20001));
    assert_eq!(session.duration(), Some(5_000_000));
    let phrases = phrases(&timeline);
    for begins in [
        "app · session /bin/true",
        "app · joins the pod's ipc",
        "app · exit code 0: sleep (20001)",
        "app · reaped after 1.0 ms",
    ] {
        index(&phrases, begins);
    }
    assert_eq!(
        timeline.up,
        only(&recorded()).up,
        "a session is not part of the start"
    );
}

#[test]
fn an_oci_hook_is_not_the_entrypoint_and_the_start_waits_for_it() {
    let exec = |line: &Json| line["fact"] == "exec" && line["process"]["pid"] == APP;
    let exit = |line: &Json| line["fact"] == "exit" && line["process"]["pid"] == 14433;
    // The runtime's init forks the hook in the container's cgroup, 5 ms before the entrypoint.
    let at = |before_ms: u64, is_it: &dyn Fn(&Json) -> bool, fact: &str| {
        let mut time = 0;
        like(exec, |line| time = line["time"].as_u64().expect("a time"));
        let mut init = Json::Null;
        like(exec, |line| init = line["process"].clone());
        like(is_it, |line| {
            line["fact"] = fact.into();
            line["time"] = (time - before_ms * 1_000_000).into();
            line["process"] = serde_json::json!({ "pid": 20010, "start": 7 });
            line["parent"] = init;
            line["cgroup"] = APP_CGROUP.into();
            if fact == "exec" {
                line["file"] = "/usr/bin/hook".into();
            }
        })
    };
    let fork = |line: &Json| line["fact"] == "fork" && line["process"]["pid"] == 14433;
    let mut events = recorded();
    events.extend([
        at(5, &fork, "fork"),
        at(4, &exec, "exec"),
        at(1, &exit, "exit"),
    ]);
    events.sort_by_key(|event| event.time);
    let timeline = only(&events);
    assert_eq!(timeline.up, only(&recorded()).up);
    let phrases = phrases(&timeline);
    index(&phrases, "app · OCI hook /usr/bin/hook");
    let hook = timeline.elements.iter();
    let mut hook = hook.filter(|element| matches!(element.what, ElementKind::Hook { .. }));
    let duration = hook.next().and_then(|hook| hook.duration());
    assert_eq!(duration, Some(4_000_000));
    let runs = timeline.elements.iter();
    let runs = runs.filter(|element| matches!(element.what, ElementKind::Run { .. }));
    let mut runs = runs.filter_map(|element| element.process);
    assert!(runs.all(|process| process.id.pid != 20010));
}

#[test]
fn a_pod_that_ran_before_has_no_start() {
    let pause = like(
        |line| line["fact"] == "exec" && line["process"]["pid"] == PAUSE,
        |line| {
            line["fact"] = "found".into();
            line["ended"] = Json::Null;
        },
    );
    let mut events = edited(|line| {
        !matches!(line["process"]["pid"].as_u64(), Some(14340..20000))
            && line["fact"] != "cgroup_made"
    });
    events.push(pause);
    let timeline = only(&events);
    assert_eq!((timeline.began, timeline.up), (None, None));
    assert_eq!(Critical::of(&timeline), None);
    assert!(shown(TextStyle::PLAIN, &timeline).contains("its start was not observed"));
}

#[test]
fn a_pod_is_found_by_its_whole_name_or_else_by_the_beginning_of_it() {
    let mut events = recorded();
    events.extend(twin(1_000_000));
    let journal = journal(&events);
    let called = |wanted: &str| {
        let Called { pods, is_whole } = journal.called(wanted);
        (pods.len(), is_whole)
    };
    let title = only(&recorded()).title();
    let name = title.rsplit('/').next().expect("a name").to_owned();
    for wanted in [&title[..], &name] {
        assert_eq!(called(wanted), (1, true), "{wanted}");
        assert_eq!(called(&wanted[..wanted.len() - 1]), (1, false), "{wanted}");
    }
    let namespace = title.split('/').next().expect("a namespace");
    assert_eq!(called(&format!("{namespace}/")), (2, false));
    for wanted in ["", namespace, "no such"] {
        assert_eq!(called(wanted), (0, false), "{wanted}");
    }
}

#[test]
fn a_timeline_can_be_extracted_at_any_time() {
    let mut journal = Journal::default();
    let mut most = 0;
    for event in recorded() {
        journal.take(&event);
        let pods: Vec<_> = journal.pods().map(|(id, ..)| id.clone()).collect();
        for timeline in pods.iter().filter_map(|pod| Timeline::of(&journal, pod)) {
            assert!(timeline.elements.len() >= most, "elements do not disappear");
            most = timeline.elements.len();
            assert!(shown(TextStyle::PLAIN, &timeline).lines().count() > most);
        }
    }
    assert!(most > 30, "{most}");
}

#[test]
fn the_journal_is_bounded_in_a_storm_of_processes() {
    let mut journal = journal(&recorded());
    let fork = like(
        |line| line["fact"] == "fork" && line["process"]["pid"] == BRIDGE,
        |_| {},
    );
    for number in 0..20_000_u64 {
        let mut event = fork.clone();
        event.time += 1_000_000_000 + number;
        if let Fact::Fork { task } = &mut event.fact {
            task.process = ProcessId {
                pid: 30_000,
                start: number,
            };
        }
        journal.take(&event);
    }
    assert!(
        journal.processes.len() <= 8_192,
        "{}",
        journal.processes.len()
    );
    let pod = journal
        .pods()
        .next()
        .map(|(id, ..)| id.clone())
        .expect("it is known");
    assert!(
        Timeline::of(&journal, &pod).expect("it is known").is_cut,
        "the timeline says so"
    );
}

#[test]
fn a_containers_own_children_are_not_kept() {
    let mut events = recorded();
    let before = journal(&events).processes.len();
    for number in 0..100 {
        events.push(like(
            |line| line["fact"] == "fork" && line["process"]["pid"] == 14433,
            |line| {
                line["time"] = (24_510_000_000_000_u64 + number).into();
                line["parent"] = serde_json::json!({ "pid": APP, "start": 24503664515281_u64 });
                line["process"] = serde_json::json!({ "pid": 40_000, "start": number });
                line["cgroup"] = APP_CGROUP.into();
            },
        ));
    }
    assert_eq!(journal(&events).processes.len(), before);
}
