//! What happened to pods, in sentences, oldest first: the past that `why` and `inspect` add to
//! what they see.

use std::collections::VecDeque;

use foldhash::HashMap;

use super::{Names, text};
use crate::{
    event::{ContainerId, Ktime, PodId, SignalResult, signal_name},
    news::{News, NewsKind},
    observer::Observer,
    rules::Ledger,
    state::{Change, Role, State},
    verdict::{Outcome, Severity, Verdict},
};

/// Most items that are kept of a pod: the newest.
const MAX_ITEMS: usize = 256;

/// Collects what happens to pods.
#[derive(Debug, Default)]
pub struct Past {
    pods: HashMap<PodId, VecDeque<Happened>>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub time: Ktime,
    /// The name of the container, or the beginning of its id, escaped; `None` for the pod.
    pub container: Option<String>,
    /// What happened, in a sentence. Names in it are escaped.
    pub what: String,
}

impl Past {
    /// Adds news.
    pub fn news(&mut self, news: &News, names: &Names) {
        let what = match &news.what {
            // That it ran already, and what was decided, is shown elsewhere.
            NewsKind::Started { found: true, .. } | NewsKind::Verified { .. } => return,
            // A pod can listen on any number of ports.
            NewsKind::Listens { .. } => return,
            NewsKind::Started {
                process, restart, ..
            } => {
                let restart = restart.map_or(String::new(), |restart| format!(": {restart}"));
                format!("started, pid {}{restart}", process.id.pid)
            }
            other => text::happened(other),
        };
        let container = news.container.as_ref();
        let happened = Happened {
            time: news.time,
            container: container.map(|id| title(id, names.container(id).name)),
            what,
        };
        self.add(&news.pod, happened);
    }

    /// Adds a violation of at least a warning.
    pub fn verdict(&mut self, verdict: &Verdict, names: &Names) {
        let Some(pod) = &verdict.subject.pod else {
            return;
        };
        if verdict.outcome != Outcome::Fail || verdict.severity() < Severity::Warning {
            return;
        }
        let container = verdict.subject.container.as_ref();
        let happened = Happened {
            time: verdict.time,
            container: container.map(|id| title(id, names.container(id).name)),
            what: format!(
                "{} {}: {}",
                verdict.rule.id, verdict.rule.name, verdict.details.message
            ),
        };
        self.add(pod, happened);
    }

    fn add(&mut self, pod: &PodId, happened: Happened) {
        let items = self.pods.entry(pod.clone()).or_default();
        if items.len() == MAX_ITEMS {
            items.pop_front();
        }
        items.push_back(happened);
    }

    /// The newest things that happened to a pod, oldest first.
    pub fn newest(&self, pod: &PodId, count: usize) -> Vec<Happened> {
        let items = self.pods.get(pod);
        let mut items: Vec<_> = items.into_iter().flatten().cloned().collect();
        items.sort_by_key(|item| item.time);
        items.drain(..items.len().saturating_sub(count));
        items
    }
}

fn title(id: &ContainerId, name: Option<String>) -> String {
    let short = || id.chars().take(12).collect();
    name.filter(|name| !name.is_empty()).unwrap_or_else(short)
}

impl Observer for Past {
    /// Adds a signal from outside the pod to an entrypoint. Its own processes could send any
    /// number.
    fn change(&mut self, time: Ktime, change: &Change, state: &State, _: &Ledger) {
        let Change::Signalled(signal) = change else {
            return;
        };
        let Some(target) = state.processes.get(signal.target) else {
            return;
        };
        let is_entrypoint = matches!(target.role, Role::Pause | Role::Init);
        let Some(pod) = target.pod.as_ref().filter(|_| is_entrypoint) else {
            return;
        };
        if !signal.is_from_process() {
            return;
        }
        let sender = state.processes.get(signal.sender);
        if sender.is_some_and(|sender| sender.pod.is_some()) {
            return;
        }
        let result = match signal.result {
            SignalResult::Ignored => ", which ignores it",
            SignalResult::AlreadyPending => ", for which it is pending already",
            _ => "",
        };
        let what = format!(
            "{} (pid {}) sent {} to {} (pid {}){result}",
            signal.sender_comm,
            signal.sender.pid,
            signal_name(signal.signal),
            target.comm,
            target.id.pid
        );
        let container = state.container_of(target);
        let name = container.map(|container| container.name.to_string());
        let happened = Happened {
            time,
            container: target.container.as_ref().map(|id| title(id, name)),
            what,
        };
        self.add(pod, happened);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;
    use crate::{
        event::{Event, WaitStatus},
        pipeline::Pipeline,
        rules::testing::{Outcome, Scene},
        signal::SIGTERM,
        state::Limits,
    };

    fn past(pod: &str, events: &[Event]) -> Vec<Happened> {
        let past = Rc::new(RefCell::new(Past::default()));
        let pipeline = Pipeline::new(Limits::REFERENCE, |_| true);
        pipeline.observe(Box::new(Rc::clone(&past)));
        pipeline.follow();
        for event in events {
            pipeline.process_event(event);
        }
        let (news, verdicts) = (pipeline.news(), pipeline.verdicts());
        assert!(verdicts.iter().any(|one| one.outcome == Outcome::Pass));
        pipeline.read(|core| {
            let mut past = past.borrow_mut();
            news.iter().for_each(|news| past.news(news, &core.names));
            verdicts
                .iter()
                .for_each(|one| past.verdict(one, &core.names));
        });
        past.borrow().newest(&pod.into(), 8)
    }

    #[test]
    fn starts_stops_ends_and_findings_of_one_pod_are_told_in_order() {
        let mut scene = Scene::new();
        let pause = scene.pod("p1");
        let app = scene.container("p1", "app");
        let other = scene.pod("p2");
        let runtime = scene.runtime;
        scene.signal(runtime, app, SIGTERM, SignalResult::Delivered);
        scene.signal(app, app, SIGTERM, SignalResult::Delivered);
        scene.signal(runtime, other, SIGTERM, SignalResult::Delivered);
        scene.end(app, WaitStatus::exited(3));
        // Its pause dies by itself, which is a finding.
        scene.end(pause, WaitStatus::exited(1));
        scene.remove_pod("p1");
        scene.wait_ms(60_000);
        scene.push(crate::event::Fact::Tick);
        let told = past("p1", &scene.events);
        let sentences: Vec<_> = told.iter().map(|one| one.what.as_str()).collect();
        let at = |begin: &str| {
            let found = sentences.iter().position(|what| what.contains(begin));
            found.unwrap_or_else(|| panic!("no {begin}: {sentences:#?}"))
        };
        let (stop, end, finding) = (at("sent SIGTERM to "), at("exit code 3"), at("PT202"));
        assert!(
            at("started, pid ") < stop && stop < end && end <= finding,
            "{sentences:#?}"
        );
        let stops = sentences.iter().filter(|what| what.contains("SIGTERM to"));
        assert_eq!(stops.count(), 1, "{sentences:#?}");
        assert_eq!(told[stop].container.as_deref(), Some("app"));
    }

    #[test]
    fn the_newest_are_kept() {
        let mut past = Past::default();
        for time in 0..1_000 {
            let happened = Happened {
                time,
                container: None,
                what: String::new(),
            };
            past.add(&"p".into(), happened);
        }
        assert_eq!(past.pods[&PodId::from("p")].len(), MAX_ITEMS);
        let times: Vec<_> = past
            .newest(&"p".into(), 2)
            .iter()
            .map(|one| one.time)
            .collect();
        assert_eq!(times, [998, 999]);
    }
}
