//! What is reported of kills by the OOM killer, ends and removals.

use super::*;
use crate::{
    event::{Fact, SignalResult},
    rules::testing::{SI_KERNEL, Scene},
    signal::SIGKILL,
    state::Limits,
};

fn news(what: NewsKind) -> News {
    News {
        time: 5,
        pod: "p".into(),
        container: None,
        what,
    }
}

#[test]
fn news_is_reported_before_the_verdicts_on_it() {
    let removed = news(NewsKind::Removed {
        lived: 1,
        lost_sandbox: false,
    });
    assert!(removed.follows(4));
    assert!(!removed.follows(5));
}

#[test]
fn verified_is_reported_after_the_last_verdict() {
    let verdicts = Counts::default();
    let verified = news(NewsKind::Verified { verdicts });
    assert!(verified.follows(5));
    assert!(!verified.follows(6));
}

/// The news of a scene.
fn told(scene: &Scene) -> Vec<NewsKind> {
    let mut state = State::new(Limits::REFERENCE);
    let mut ledger = Ledger::new(|_| true);
    let mut feed = NewsFeed::default();
    for event in &scene.events {
        ledger.judge(&mut state, event, |change, state, ledger| {
            feed.change(event.time, change, state, ledger);
        });
    }
    let told = feed.take().into_iter().map(|news| news.what);
    told.filter(|what| !matches!(what, NewsKind::Started { .. }))
        .collect()
}

/// The OOM killer kills a process.
fn oom(scene: &mut Scene, process: crate::event::ProcessId) {
    let (kill, result) = (SIGKILL, SignalResult::Delivered);
    scene.signal_with_code(process, process, kill, result, SI_KERNEL);
    scene.push(Fact::OomVictim { pid: process.pid });
    scene.end(process, WaitStatus::killed(SIGKILL));
}

#[test]
fn a_sandbox_whose_pause_died_is_not_called_a_removed_pod() {
    let (kill, result) = (SIGKILL, SignalResult::Delivered);
    for (by_runtime, is_lost, expected) in [
        (false, false, true),
        (true, false, false),
        // The record of the stop may be the one that was lost.
        (false, true, false),
    ] {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        if is_lost {
            scene.lose(Kind::SignalGenerate, 1);
        }
        let sender = match by_runtime {
            true => scene.runtime,
            false => scene.stranger,
        };
        scene.signal(sender, pause, kill, result);
        scene.end(pause, WaitStatus::killed(kill));
        scene.remove_pod("p");
        let told = told(&scene);
        let [
            NewsKind::Ended { .. },
            NewsKind::Removed { lost_sandbox, .. },
            ..,
        ] = told[..]
        else {
            panic!("{told:?}")
        };
        assert_eq!(lost_sandbox, expected);
    }
}

#[test]
fn a_kill_of_the_oom_killer_is_told_and_the_end_of_its_container_too() {
    let mut scene = Scene::new();
    scene.pod("p");
    let init = scene.container("p", "a");
    let [first, second] = [scene.fork(init), scene.fork(init)];
    oom(&mut scene, first);
    oom(&mut scene, second);
    scene.end(init, WaitStatus::exited(137));
    let told = told(&scene);
    let [
        NewsKind::OomKilled {
            process,
            count: 1,
            memory_limit: None,
        },
        NewsKind::Ended {
            oom_killed: Some(last),
            ..
        },
    ] = &told[..]
    else {
        panic!("the second kill comes too soon after the first: {told:?}")
    };
    assert_eq!((process.id, last.id), (first, second));
}

#[test]
fn kills_of_the_oom_killer_are_told_again_after_a_while() {
    let mut scene = Scene::new();
    scene.pod("p");
    let init = scene.container("p", "a");
    for wait in [0, 9_000, 2_000] {
        scene.wait_ms(wait);
        let child = scene.fork(init);
        oom(&mut scene, child);
    }
    let counts: Vec<_> = told(&scene)
        .iter()
        .map(|what| match what {
            NewsKind::OomKilled { count, .. } => *count,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [1, 3]);
}

#[test]
fn the_victim_that_is_the_entrypoint_is_told_once() {
    let mut scene = Scene::new();
    scene.pod("p");
    let init = scene.container("p", "a");
    oom(&mut scene, init);
    let told = told(&scene);
    let [NewsKind::Ended { oom_killed, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(oom_killed.map(|killed| killed.id), Some(init));

    // It was marked, and ended by itself.
    let mut scene = Scene::new();
    scene.pod("p");
    let init = scene.container("p", "a");
    scene.push(Fact::OomVictim { pid: init.pid });
    scene.end(init, WaitStatus::exited(0));
    let told = self::told(&scene);
    let [
        NewsKind::Ended {
            oom_killed: None, ..
        },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
}

#[test]
fn the_memory_limit_of_a_container_is_told_with_its_kills() {
    let mut scene = Scene::new();
    scene.pod("p");
    let init = scene.container("p", "a");
    scene.push(Fact::MemoryLimit {
        container: "a".into(),
        bytes: 64 << 20,
    });
    let child = scene.fork(init);
    oom(&mut scene, child);
    oom(&mut scene, init);
    let limits: Vec<_> = told(&scene)
        .iter()
        .map(|what| match what {
            NewsKind::OomKilled { memory_limit, .. } | NewsKind::Ended { memory_limit, .. } => {
                *memory_limit
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(limits, [Some(64 << 20); 2]);

    // The end of a container without kills says nothing of its limit.
    let mut scene = Scene::new();
    scene.pod("p");
    let init = scene.container("p", "a");
    scene.push(Fact::MemoryLimit {
        container: "a".into(),
        bytes: 64 << 20,
    });
    scene.end(init, WaitStatus::exited(0));
    let [
        NewsKind::Ended {
            memory_limit: None, ..
        },
    ] = &told(&scene)[..]
    else {
        panic!("{:?}", told(&scene))
    };
}

#[test]
fn a_container_that_is_killed_as_a_group_is_told_once() {
    let mut scene = Scene::new();
    scene.pod("p");
    let init = scene.container("p", "a");
    let child = scene.fork(init);
    for victim in [child, init] {
        let (kill, result) = (SIGKILL, SignalResult::Delivered);
        scene.signal_with_code(child, victim, kill, result, SI_KERNEL);
        scene.push(Fact::OomVictim { pid: victim.pid });
    }
    for victim in [child, init] {
        scene.end(victim, WaitStatus::killed(SIGKILL));
    }
    let told = told(&scene);
    let [NewsKind::Ended { oom_killed, .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(oom_killed.map(|killed| killed.id), Some(init));
}
