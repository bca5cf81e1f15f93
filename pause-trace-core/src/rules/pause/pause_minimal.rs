//! PT501: a pause uses next to no resources.

use super::{subject, unmeasured};
use crate::rules::prelude::*;

/// Most memory of a pause, as proportional set size. Common pauses use 4 to 300 KiB; with pages of
/// 64 KiB, a few pages are a megabyte.
const MAX_PSS: u64 = 2 * 1024 * 1024;
/// Most threads.
const MAX_THREADS: u32 = 1;
/// Most open descriptors: stdin, stdout and stderr, and what a pause that waits by signalfd and
/// epoll needs.
const MAX_DESCRIPTORS: u32 = 8;
/// Most sockets besides stdin, stdout and stderr.
const MAX_SOCKETS: u32 = 0;
/// Most children. Orphans that were reparented to the pause do not count.
const MAX_CHILDREN: u32 = 0;
/// CPU time in ns that a pause may have used: for its setup before it became the pause (the count
/// includes `runc init`, because it survives exec) …
const CPU_BASE: u64 = 500_000_000;
/// … and this fraction of its age, for reaping.
const CPU_SHARE: u64 = 100;
/// The same between two measurements: /proc may count CPU time in ticks of 10 ms.
const IDLE_CPU_BASE: u64 = 20_000_000;
/// Most anonymous memory in bytes that a pause may add between two measurements: two pages of
/// 64 KiB.
const MAX_GROWTH: u64 = 128 * 1024;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT501",
        name: "pause-minimal",
        severity: Severity::Error,
        summary: "the pause uses more resources than a pause needs",
        doc: "\
## What it checks
Each time the pause process is measured, it may have at most 2 MiB of memory (proportional set \
size), one thread, 8 open descriptors, no socket besides stdin, stdout and stderr, no child that \
it forked itself (orphans in a shared pid namespace do not count), and CPU time of at most 0.5 s \
plus 1 % of its age. `check` also measures a pause before and after it was left alone for a while \
(`--idle`): in between, the pause may use CPU time of at most 20 ms plus 1 % of that time, add at \
most 128 KiB of anonymous memory, and open no further descriptor.

## Why it matters
A node runs one pause for each pod, so a node with 100 pods uses its resources 100 times. And it \
is the one process of a pod that no probe checks: a pause that listens, forks or computes does \
something that is not a pause's task.

## How to fix it
See which sandbox image the runtime uses (`sandbox_image` in containerd, `pause_image` in CRI-O, \
`infra_image` in Podman), and restore the default. If the pause inherited a descriptor, the \
runtime that created it leaked it.

## Example
    the pause (pid 812) exceeds its limits: memory 5120 KiB (at most 2048 KiB), threads 4 (at most \
1)

## Source
Kubernetes: build/pause/linux/pause.c; The Almighty Pause Container (ianlewis.org).
",
        needs: &[],
    },
    on: &[On::PauseStatus, On::PauseUnmeasured, On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    match change {
        Change::PauseStatus(status) => judge_status(context, status, sink),
        // It ended before it was measured as usual, so what it used at its start has to do.
        Change::Ended(id) => {
            let pod = context.inside(*id).map(|(_, _, pod)| pod);
            let at_start = pod.and_then(|pod| pod.at_start.as_ref());
            let is_measured = pod
                .and_then(|pod| pod.measured.as_ref())
                .is_some_and(|measured| measured.process == *id);
            if let Some(status) = at_start.filter(|status| status.process == *id && !is_measured) {
                judge_status(context, status, sink);
            }
        }
        _ => unmeasured(context, change, sink),
    }
}

fn judge_status(context: &Context<'_>, status: &PauseStatus, sink: &mut Sink<'_>) {
    let Some(pod) = context.state.pods.get(&status.pod) else {
        return;
    };
    let children = match pod.modes.pid {
        // In a pid namespace of its own the pause adopts nothing.
        Mode::Pod | Mode::Unknown => own_children(context, status.process),
        _ => status.children,
    };
    let mut uses = uses(status, children);
    let before = pod
        .measured_before
        .as_ref()
        .filter(|before| before.process == status.process && before.age_ns < status.age_ns);
    uses.extend(before.into_iter().flat_map(|before| growth(before, status)));
    let pid = status.process.pid;
    let age = Duration(status.age_ns);
    let is_excess = |(_, observed, most, _): &&Use| observed > most;
    let excess: Vec<_> = uses.iter().filter(is_excess).collect();
    let subject = subject(context, status);
    if excess.is_empty() {
        sink.pass(subject, || {
            let all: Vec<_> = uses
                .iter()
                .map(|(name, observed, _, unit)| format!("{name} {}", unit(*observed)))
                .collect();
            let message = format!("pid {pid}, {age} old: {}", all.join(", "));
            uses.iter().fold(
                Details::new(message),
                |details, (name, observed, _, unit)| details.observed(name, unit(*observed)),
            )
        });
        return;
    }
    sink.fail(subject, || {
        let all: Vec<_> = excess
            .iter()
            .map(|(name, observed, most, unit)| {
                format!("{name} {} (at most {})", unit(*observed), unit(*most))
            })
            .collect();
        let message = format!(
            "the pause (pid {pid}) exceeds its limits: {}",
            all.join(", ")
        );
        let mut details = Details::new(message)
            .evidence(context.now, format!("the pause was measured, {age} old"));
        if let Some(before) = before {
            let idle = status.age_ns.saturating_sub(before.age_ns);
            let what = format!("it was measured before, {} old", Duration(before.age_ns));
            details = details.evidence(context.now.saturating_sub(idle), what);
        }
        for (name, observed, most, unit) in excess {
            details = details
                .expected(name, unit(*most))
                .observed(name, unit(*observed));
        }
        details
    });
}

/// The name of a resource, how much of it the pause uses, the most that it may use, and the unit.
type Use = (&'static str, u64, u64, fn(u64) -> Value);

/// What a pause uses.
fn uses(status: &PauseStatus, children: u32) -> Vec<Use> {
    let max_cpu = CPU_BASE + status.age_ns / CPU_SHARE;
    let count =
        |name, number: u32, most: u32| -> Use { (name, number.into(), most.into(), Value::Number) };
    vec![
        ("memory", status.pss_bytes, MAX_PSS, Value::Bytes),
        count("threads", status.threads, MAX_THREADS),
        count("descriptors", status.descriptors, MAX_DESCRIPTORS),
        count("sockets", status.sockets, MAX_SOCKETS),
        count("children", children, MAX_CHILDREN),
        ("CPU time", status.cpu_ns, max_cpu, Value::Duration),
    ]
}

/// What a pause has added since it was measured before.
fn growth(before: &PauseStatus, status: &PauseStatus) -> [Use; 3] {
    let time = status.age_ns.saturating_sub(before.age_ns);
    let opened = status.descriptors.saturating_sub(before.descriptors);
    let added = status
        .anonymous_bytes
        .saturating_sub(before.anonymous_bytes);
    let cpu = status.cpu_ns.saturating_sub(before.cpu_ns);
    let max_cpu = IDLE_CPU_BASE + time / CPU_SHARE;
    [
        ("memory added", added, MAX_GROWTH, Value::Bytes),
        ("descriptors added", opened.into(), 0, Value::Number),
        ("CPU time added", cpu, max_cpu, Value::Duration),
    ]
}

/// Living children that the pause forked itself. An orphan that was found has the pause as its
/// parent, too, but stays in the cgroup of its container.
fn own_children(context: &Context<'_>, pause: ProcessId) -> u32 {
    let processes = &context.state.processes;
    let Some(sandbox) = processes
        .get(pause)
        .and_then(|pause| pause.container.as_ref())
    else {
        return 0;
    };
    let is_own = |child: &&Process| {
        child.is_alive() && child.born_of == pause && child.container.as_ref() == Some(sandbox)
    };
    processes.children(pause).filter(is_own).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    fn judged(edit: impl FnOnce(&mut PauseStatus), outcome: Outcome) -> Details {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.pause_status("p", edit);
        scene.expect("PT501", &[outcome])[0].details.clone()
    }

    #[test]
    fn a_plain_pause_passes_with_its_measurements() {
        let details = judged(|_| {}, Outcome::Pass);
        assert!(
            details
                .message
                .contains("memory 20 KiB, threads 1, descriptors 3"),
            "{}",
            details.message
        );
    }

    #[test]
    fn each_excess_fails() {
        judged(|status| status.pss_bytes = MAX_PSS + 1, Outcome::Fail);
        judged(|status| status.threads = 2, Outcome::Fail);
        judged(|status| status.descriptors = 9, Outcome::Fail);
        judged(|status| status.sockets = 1, Outcome::Fail);
        judged(|status| status.children = 1, Outcome::Fail);
        let spinning = judged(|status| status.cpu_ns = status.age_ns, Outcome::Fail);
        assert_eq!(
            spinning.expected,
            [("CPU time", Value::Duration(600_000_000))]
        );
        assert_eq!(
            spinning.observed,
            [("CPU time", Value::Duration(10_000_000_000))]
        );
    }

    #[test]
    fn the_limits_themselves_pass() {
        judged(|status| status.pss_bytes = MAX_PSS, Outcome::Pass);
        judged(|status| status.descriptors = 8, Outcome::Pass);
    }

    #[test]
    fn the_setups_cpu_time_does_not_count_against_a_young_pause() {
        judged(
            |status| (status.age_ns, status.cpu_ns) = (100_000_000, 300_000_000),
            Outcome::Pass,
        );
    }

    /// What is said of a pause that was measured at 0.1 s and, with these changes, at 2.1 s.
    fn left_alone(edit: impl FnOnce(&mut PauseStatus), outcomes: &[Outcome]) -> Vec<String> {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.pause_status("p", |status| status.age_ns = 100_000_000);
        scene.wait_ms(2_000);
        scene.pause_status("p", |status| {
            status.age_ns = 2_100_000_000;
            edit(status);
        });
        let verdicts = scene.expect("PT501", outcomes);
        verdicts
            .into_iter()
            .map(|verdict| verdict.details.message)
            .collect()
    }

    #[test]
    fn a_pause_that_works_while_it_is_left_alone_fails() {
        let outcomes = [Outcome::Pass, Outcome::Fail];
        // Its whole CPU time is within the limit of a pause of that age.
        let spins = left_alone(|status| status.cpu_ns += 400_000_000, &outcomes);
        assert!(
            spins[1].ends_with("exceeds its limits: CPU time added 400 ms (at most 40 ms)"),
            "{spins:?}"
        );
        let leaks = left_alone(|status| status.descriptors += 1, &outcomes);
        assert!(
            leaks[1].ends_with("descriptors added 1 (at most 0)"),
            "{leaks:?}"
        );
        let grows = left_alone(|status| status.anonymous_bytes += MAX_GROWTH + 1, &outcomes);
        assert!(grows[1].contains("memory added"), "{grows:?}");
    }

    #[test]
    fn a_pause_that_does_next_to_nothing_while_it_is_left_alone_passes() {
        let edit = |status: &mut PauseStatus| {
            status.cpu_ns += 40_000_000;
            status.anonymous_bytes += MAX_GROWTH;
            // Shared pages count more when the processes that share them are gone.
            status.pss_bytes = MAX_PSS;
        };
        left_alone(edit, &[Outcome::Pass]);
    }

    #[test]
    fn another_pause_is_not_compared_with_the_one_before_it() {
        let other = |status: &mut PauseStatus| {
            status.process.start += 1;
            status.cpu_ns += 400_000_000;
        };
        left_alone(other, &[Outcome::Pass, Outcome::Pass]);
    }

    #[test]
    fn a_pause_that_ends_early_is_judged_by_its_start() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.pause_started("p", |status| status.age_ns = 5_000_000);
        scene.expect("PT501", &[]);
        scene.end(pause, WaitStatus::exited(0));
        let verdicts = scene.expect("PT501", &[Outcome::Pass]);
        let message = &verdicts[0].details.message;
        assert!(message.contains("5.0 ms old"), "{message}");

        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.pause_started("p", |status| status.sockets = 1);
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT501", &[Outcome::Fail]);
    }

    #[test]
    fn a_pause_that_was_measured_is_not_judged_again_by_its_start() {
        let mut scene = Scene::new();
        let pause = scene.pod("p");
        scene.pause_started("p", |status| status.descriptors = 20);
        scene.pause_status("p", |_| {});
        scene.end(pause, WaitStatus::exited(0));
        scene.expect("PT501", &[Outcome::Pass]);
    }

    #[test]
    fn a_pause_that_nobody_could_measure_is_inconclusive() {
        for rule in ["PT501", "PT503"] {
            let mut scene = Scene::new();
            let process = scene.pod("p");
            scene.push(Fact::PauseUnmeasured {
                pod: "p".into(),
                process,
                reason: Text::new("it had ended by then"),
            });
            let verdicts = scene.expect(rule, &[Outcome::Inconclusive]);
            let message = &verdicts[0].details.message;
            assert!(
                message.ends_with("was not measured: it had ended by then"),
                "{message}"
            );
        }
    }

    #[test]
    fn several_excesses_are_one_finding() {
        let details = judged(
            |status| (status.threads, status.sockets) = (4, 2),
            Outcome::Fail,
        );
        assert!(
            details
                .message
                .ends_with("threads 4 (at most 1), sockets 2 (at most 0)"),
            "{}",
            details.message
        );
    }

    #[test]
    fn orphans_in_a_shared_pid_namespace_do_not_count() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        let app = scene.container("p", "app");
        let child = scene.fork(app);
        scene.fork(child);
        scene.end(child, WaitStatus::exited(0));
        scene.pause_status("p", |status| status.children = 1);
        scene.expect("PT501", &[Outcome::Pass]);
    }

    #[test]
    fn orphans_that_were_found_do_not_count_but_a_child_that_was_found_does() {
        let mut scene = Scene::new();
        scene.shared_pid_pod("p");
        let app = scene.container("p", "app");
        let child = scene.fork(app);
        scene.fork(child);
        scene.end(child, WaitStatus::exited(0));
        scene.attach_late();
        scene.pause_status("p", |status| status.children = 1);
        scene.expect("PT501", &[Outcome::Pass]);

        let mut scene = Scene::new();
        let pause = scene.shared_pid_pod("p");
        scene.fork(pause);
        scene.attach_late();
        scene.pause_status("p", |status| status.children = 1);
        scene.expect("PT501", &[Outcome::Fail]);
    }

    #[test]
    fn orphans_do_not_count_if_the_pid_mode_is_unknown() {
        for (fork_of_pause, outcome) in [(false, Outcome::Pass), (true, Outcome::Fail)] {
            let mut scene = Scene::new();
            let pause = scene.shared_pid_pod("p");
            let app = scene.container("p", "app");
            let child = scene.fork(app);
            scene.fork(if fork_of_pause { pause } else { child });
            scene.end(child, WaitStatus::exited(0));
            scene.pause_status("p", |status| status.children = 1);
            for event in &mut scene.events {
                if let Fact::Pod(pod) = &mut event.fact {
                    pod.modes.pid = Mode::Unknown;
                }
            }
            scene.expect("PT501", &[outcome]);
        }
    }

    #[test]
    fn a_forked_child_fails_in_a_shared_pid_namespace_too() {
        let mut scene = Scene::new();
        let pause = scene.shared_pid_pod("p");
        scene.fork(pause);
        scene.pause_status("p", |status| status.children = 1);
        scene.expect("PT501", &[Outcome::Fail]);
    }
}
