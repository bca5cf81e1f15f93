use super::*;
use crate::{
    event::WaitStatus,
    rules::{Ledger, testing::Scene, truth_tests},
    state::Limits,
    verdict::Outcome,
};

/// The size of a small history.
const LIMIT: u64 = 1 << 20;

/// A pod that forks without pause for a while, and a neighbour in which a zombie stays.
fn storm() -> (Scene, [ProcessId; 2]) {
    let mut scene = Scene::new();
    let inits = ["loud", "quiet"].map(|pod| {
        scene.pod(pod);
        scene.container(pod, pod)
    });
    for round in 0..60 {
        for _ in 0..300 {
            let child = scene.fork(inits[0]);
            scene.exec_as(child, "/bin/true");
            scene.end(child, WaitStatus::exited(0));
        }
        if round == 5 {
            let zombie = scene.fork(inits[1]);
            scene.exit(zombie, WaitStatus::exited(0));
        }
        scene.wait_ms(1_000);
    }
    (scene, inits)
}

/// What is recorded, and the state after it.
fn recorded(events: &[Event], shares: &mut Shares) -> (Vec<Event>, State) {
    let mut state = State::new(Limits::REFERENCE);
    let mut recorded = Vec::new();
    let mut changes = Vec::new();
    for event in events {
        shares.admit(event, &state, |event| recorded.push(event.clone()));
        state.apply(event, &mut changes);
        state.forget(&changes);
        changes.clear();
    }
    (recorded, state)
}

/// The rules and pods of these outcomes.
fn said(events: &[Event], outcome: Outcome) -> Vec<(&'static str, PodId)> {
    let mut state = State::new(Limits::REFERENCE);
    let mut ledger = Ledger::new(|_| true);
    for event in events {
        ledger.judge(&mut state, event, |_, _, _| ());
    }
    let verdicts = ledger.take().into_iter();
    verdicts
        .filter(|verdict| verdict.outcome == outcome)
        .filter_map(|verdict| Some((verdict.rule.id, verdict.subject.pod?)))
        .collect()
}

/// How many records each pod may write: none, and more and more of its life.
const RECORDS: [u64; 9] = [0, 1, 2, 3, 4, 6, 9, 14, 24];

#[test]
fn what_is_left_out_turns_no_fault_into_a_pass_and_accuses_nobody() {
    truth_tests::assert_careful(|events| {
        let recorded = RECORDS.map(|records| {
            let mut shares = Shares::strict(records);
            let (mut recorded, _) = recorded(events, &mut shares);
            let last = events.last().map_or(0, |event| event.time);
            recorded.extend(shares.pending(last));
            recorded
        });
        recorded.into()
    });
}

#[test]
fn a_pod_that_forks_without_pause_writes_its_share_and_a_quiet_one_everything() {
    let (scene, [loud, quiet]) = storm();
    let mut shares = Shares::new(LIMIT);
    let (mut kept, _) = recorded(&scene.events, &mut shares);
    let time = scene.events.last().expect("there are some").time;
    kept.extend(shares.pending(time));

    let of = |events: &[Event], init: ProcessId| {
        let forks = events.iter().filter(|event| match &event.fact {
            Fact::Fork { task } => task.parent == init,
            _ => false,
        });
        forks.count() as u64
    };
    // 51 records a second, of which each child needs four, and those of 8 s at once.
    let forks = of(&kept, loud);
    assert!((600..1_300).contains(&forks), "{forks} forks");
    assert_eq!(of(&kept, quiet), of(&scene.events, quiet));
    assert_eq!(of(&scene.events, loud), 18_000);

    // What was left out is said, and of which pod.
    let suppressed: u64 = kept
        .iter()
        .map(|event| match &event.fact {
            Fact::RecordsSuppressed {
                cgroup,
                kind,
                count,
            } => {
                assert_eq!((*cgroup, *kind), (scene.cgroup(loud), Kind::Fork));
                *count
            }
            _ => 0,
        })
        .sum();
    assert_eq!(suppressed + forks, 18_000);
    let left_out = shares.left_out();
    let [of_loud] = &left_out[..] else {
        panic!("one pod: {left_out:?}");
    };
    let name = of_loud.name.to_string();
    assert_eq!((&*name, of_loud.records), ("loud", suppressed));

    // Of a process everything is kept, or nothing.
    let mut forked = HashSet::new();
    for event in &kept {
        match &event.fact {
            Fact::Fork { task } => {
                forked.insert(task.process);
            }
            Fact::Exit { task, .. } => assert!(forked.contains(&task.process)),
            Fact::Reaped { process } => assert!(forked.remove(process)),
            _ => {}
        }
    }

    // The neighbour's fault is still there, and nothing else is reported.
    let faults = said(&scene.events, Outcome::Fail);
    assert!(
        faults
            .iter()
            .any(|(rule, pod)| (*rule, &**pod) == ("PT401", "quiet"))
    );
    assert_eq!(said(&kept, Outcome::Fail), faults);
    let open = said(&kept, Outcome::Inconclusive);
    assert!(open.iter().all(|(_, pod)| &**pod == "loud"), "{open:?}");
}

#[test]
fn a_pod_within_its_share_writes_everything() {
    let mut scene = Scene::new();
    scene.pod("p");
    let app = scene.container("p", "app");
    for _ in 0..60 {
        // Probes and workers: 40 records a second.
        for _ in 0..10 {
            let child = scene.fork(app);
            scene.exec_as(child, "/bin/true");
            scene.end(child, WaitStatus::exited(0));
        }
        scene.wait_ms(1_000);
    }
    let mut shares = Shares::new(LIMIT);
    let (kept, _) = recorded(&scene.events, &mut shares);
    assert_eq!(kept, scene.events);
    assert!(shares.left_out().is_empty() && shares.pending(0).is_empty());
}

#[test]
fn pods_that_write_too_much_divide_a_share() {
    let mut scene = Scene::new();
    let pods: Vec<_> = (0..10).map(|index| format!("loud-{index}")).collect();
    let inits = pods.iter().map(|pod| {
        scene.pod(pod);
        scene.container(pod, pod)
    });
    let inits: Vec<_> = inits.collect();
    for _ in 0..60 {
        for init in &inits {
            for _ in 0..60 {
                let child = scene.fork(*init);
                scene.end(child, WaitStatus::exited(0));
            }
        }
        scene.wait_ms(1_000);
    }
    let mut shares = Shares::new(LIMIT);
    let (kept, _) = recorded(&scene.events, &mut shares);
    let all = scene.events.len();
    // One pod alone would write 51 × 68 records.
    assert!(
        kept.len() < 9_000 && all > 100_000,
        "{} of {all}",
        kept.len()
    );
}

#[test]
fn a_new_segment_has_the_ends_of_all_processes_of_its_snapshot() {
    let mut scene = Scene::new();
    scene.pod("p");
    let app = scene.container("p", "app");
    let children: Vec<_> = (0..20).map(|_| scene.fork(app)).collect();
    let mut shares = Shares::strict(12);
    let (_, mut state) = recorded(&scene.events, &mut shares);
    assert!(!shares.unseen.is_empty());
    let left_out = shares.begin_segment();
    assert_eq!(left_out.len(), 1);
    assert!(shares.left_out().is_empty());
    let before = scene.events.len();
    for child in &children {
        scene.end(*child, WaitStatus::exited(0));
    }
    let mut kept = Vec::new();
    let mut changes = Vec::new();
    for event in &scene.events[before..] {
        shares.admit(event, &state, |event| kept.push(event.clone()));
        state.apply(event, &mut changes);
    }
    assert_eq!(kept, scene.events[before..]);
}

#[test]
fn a_clone_is_left_out_with_its_fork() {
    let mut scene = Scene::new();
    scene.pod("p");
    let app = scene.container("p", "app");
    let child = scene.fork(app);
    let at = scene.events.len() - 1;
    let time = scene.events[at].time;
    let fact = Fact::Cloned {
        process: child,
        flags: 1,
    };
    let cloned = Event { time, fact };
    scene.events.insert(at, cloned.clone());
    let (kept, _) = recorded(&scene.events, &mut Shares::strict(0));
    assert!(!kept.contains(&cloned));
    let (kept, _) = recorded(&scene.events, &mut Shares::strict(1_000));
    assert_eq!(kept, scene.events);
}

#[test]
fn the_stop_of_a_loud_pod_is_kept() {
    use crate::{event::SignalResult, signal::SIGTERM};

    let (mut scene, [loud, _]) = storm();
    let before = scene.events.len();
    scene.signal(scene.runtime, loud, SIGTERM, SignalResult::Delivered);
    scene.handle(loud, SIGTERM);
    scene.end(loud, WaitStatus::exited(0));
    let (kept, _) = recorded(&scene.events, &mut Shares::strict(0));
    for event in &scene.events[before..] {
        assert!(kept.contains(event), "{event:?}");
    }
}
