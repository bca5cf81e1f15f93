//! The recorded start of a real pod, and variants of it.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value as Json;

use super::{Journal, Timeline};
use crate::{
    event::{Comm, Event, Fact, Listen, NamespaceCall, PodId, ProcessId},
    observer::Observer as _,
    rules::Ledger,
    state::{Limits, State},
};

/// containerd 1.6, runc 1.1 and CNI's bridge: a pod with one container, started and killed.
const CONTAINERD: &str = include_str!("testdata/containerd-1.6.jsonl");

/// The pids, cgroups and inode numbers in it.
pub(super) const DAEMON: u64 = 14315;
pub(super) const BRIDGE: u32 = 14352;
pub(super) const SHIM: u64 = 14376;
pub(super) const PAUSE: u32 = 14399;
pub(super) const APP: u32 = 14434;
pub(super) const APP_CGROUP: u64 = 1345529;
pub(super) const NET: u32 = 4026532247;
pub(super) const HOST_NET: u32 = 4026532178;

/// The exec of the app.
pub(super) const EXECUTED: u64 = 24_503_697_810_441;
pub(super) const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The recorded start, with an app that listens on these ports so long after its exec, in ms.
pub(crate) fn listening(ports: &[(u16, u64)]) -> Vec<Event> {
    let mut events = recorded();
    for (port, after) in ports {
        let time = EXECUTED + after * 1_000_000;
        let listen = Listen {
            process: ProcessId {
                pid: APP,
                start: 24_503_664_515_281,
            },
            comm: Comm::new("sleep"),
            cgroup: APP_CGROUP,
            namespace: NET,
            address: ANY,
            port: *port,
            ended: false,
        };
        for (time, fact) in [
            (time, Fact::Listen(listen)),
            (time + 100_000_000, Fact::Tick),
        ] {
            events.push(Event { time, fact });
        }
    }
    events.sort_by_key(|event| event.time);
    events
}

/// The recording with each event edited. An event for which `edit` returns `false` is left out.
pub(super) fn edited(mut edit: impl FnMut(&mut Json) -> bool) -> Vec<Event> {
    let lines = CONTAINERD
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"));
    lines
        .filter_map(|mut line| edit(&mut line).then_some(line))
        .map(event)
        .collect()
}

pub(crate) fn recorded() -> Vec<Event> {
    edited(|_| true)
}

/// Converts a line to an event. The lines are easier to edit than the JSON of an event, which is
/// `{"time", "fact": {"Exec": {…}}}`.
fn event(mut line: Json) -> Event {
    let fields = line.as_object_mut().expect("an object");
    let time = fields.remove("time").expect("a time");
    let fact = fields.remove("fact").expect("a fact");
    if let Some(call) = fields.get_mut("call") {
        *call = (NamespaceCall::Unshare as u32 * u32::from(*call == "unshare")).into();
    }
    let words = fact.as_str().expect("a name").split('_');
    let name: String = words
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect();
    if matches!(
        &name[..],
        "Fork" | "Exec" | "Exit" | "Found" | "NamespaceChange" | "CgroupAttached"
    ) {
        let mut task = serde_json::json!({"parent": ProcessId::default()});
        for field in [
            "process",
            "parent",
            "cgroup",
            "namespaces",
            "ns_pid",
            "comm",
        ] {
            if let Some(value) = fields.remove(field) {
                task[field] = value;
            }
        }
        fields.insert("task".to_owned(), task);
    }
    let event = serde_json::json!({"time": time, "fact": {name: line}});
    serde_json::from_value(event).expect("an event")
}

/// An edited copy of the first event of the recording that `is_it` selects.
pub(super) fn like(is_it: impl Fn(&Json) -> bool, edit: impl FnOnce(&mut Json)) -> Event {
    let lines = CONTAINERD
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).expect("an object"));
    let mut line = lines
        .into_iter()
        .find(|line| is_it(line))
        .expect("it is there");
    edit(&mut line);
    event(line)
}

/// A second pod that the same daemon starts `later` ns after the first. Its pids, namespaces,
/// cgroups and ids differ.
pub(super) fn twin(later: u64) -> Vec<Event> {
    const PIDS: u64 = 1_000_000;
    fn shift(value: &mut Json, key: &str) {
        match value {
            Json::Object(members) => {
                for (key, value) in members.iter_mut() {
                    // Start times and the daemon's pid are not shifted.
                    if key != "namespaces" || value.is_object() {
                        shift(value, &key.clone());
                    }
                }
            }
            Json::Number(number) => {
                let old = number.as_u64().unwrap_or_default();
                let new = match key {
                    "pid" | "tid" | "ns_pid" if (14_340..20_000).contains(&old) => old + PIDS,
                    "net" | "uts" | "ipc" | "mnt" | "pid_children" if old >= 4_026_532_200 => {
                        old + 1_000
                    }
                    "cgroup" if old > 1_345_500 => old + 1_000,
                    _ => old,
                };
                *number = new.into();
            }
            Json::String(text)
                if matches!(key, "pod" | "container" | "sandbox" | "name" | "path") =>
            {
                *text = text
                    .replace("000037e5", "000037e6")
                    .replace("web", "db")
                    .replace("8674d", "9674d")
                    .replace("209d9", "309d9");
            }
            _ => {}
        }
    }
    edited(|line| {
        let is_setup = matches!(line["fact"].as_str(), Some("host" | "runtime_names"));
        shift(line, "");
        let time = line["time"].as_u64().expect("a time");
        line["time"] = (time + later).into();
        let is_daemon = line["fact"] == "exec" && line["process"]["pid"] == DAEMON;
        !(is_setup || is_daemon)
    })
}

pub(super) fn journal(events: &[Event]) -> Journal {
    let (mut journal, mut state) = (Journal::default(), State::new(Limits::NODE));
    let mut ledger = Ledger::new(|_| false);
    for event in events {
        journal.take(event);
        ledger.judge(&mut state, event, |change, state, ledger| {
            journal.change(event.time, change, state, ledger);
        });
    }
    journal
}

/// The timelines of all pods, by name.
pub(super) fn all(events: &[Event]) -> Vec<Timeline> {
    let mut sorted = events.to_vec();
    sorted.sort_by_key(|event| event.time);
    let journal = journal(&sorted);
    let pods: Vec<PodId> = journal.pods().map(|(id, ..)| id.clone()).collect();
    let mut all: Vec<_> = pods
        .iter()
        .filter_map(|pod| Timeline::of(&journal, pod))
        .collect();
    all.sort_by_key(Timeline::title);
    all
}

/// The timeline of the only pod.
pub(crate) fn only(events: &[Event]) -> Timeline {
    let mut all = all(events);
    assert_eq!(all.len(), 1, "one pod is known");
    all.remove(0)
}
