//! PT403: a pod does not accumulate zombies.

use super::blame;
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT403",
        name: "zombies-growing",
        severity: Severity::Warning,
        summary: "a pod has more overdue zombies than the limit",
        doc: "\
## What it checks
This rule counts the processes of a pod that have ended and have not been reaped for longer than \
the limit (5 s on a node). More than 64 at the same time are a finding, which includes their rate. \
Any number of processes that are reaped in time is fine. PT401, PT402 or PT404 reports the process \
that fails to reap, as the error; this rule reports that the number is large.

## Why it matters
Zombies count against the pod's pids limit and the node's pid_max. At the limit no process in the \
pod can fork: probes fail, shells do not start, and the node may be tainted with PIDPressure.

## How to fix it
Fix what the other finding names. Until then, restart the container to clear its zombies. With a \
shared pid namespace, only a new pod clears them.

## Example
    65 zombies have not been reaped for more than 5.00 s (at most 64 are allowed), 12.0 more each \
second

## Source
Kubernetes: Process ID Limits And Reservations; kubernetes/kubernetes#81042; \
containerd/containerd#4255.
",
        needs: &[Kind::Fork, Kind::Exec, Kind::Exit, Kind::Free],
    },
    on: &[On::ZombieDue, On::PodRemoved, On::RemovalDue],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let limits = context.state.limits;
    if let Change::ZombieDue(process) = change
        && let Some((_, _, pod)) = context.inside(*process)
        && pod.overdue > limits.zombies
    {
        let overdue = || {
            context.state.processes.iter().filter(|process| {
                process.overdue && process.is_zombie() && process.pod.as_ref() == Some(&pod.id)
            })
        };
        let first = |zombies: &mut dyn Iterator<Item = &Process>| {
            let ends = zombies.filter_map(|process| process.ended);
            ends.map(|ended| ended.time).min()
        };
        let oldest = first(&mut overdue()).unwrap_or(context.now);
        // When those ended that were found as zombies is unknown, so they say nothing of the rate.
        let is_seen = |process: &&Process| !process.ended_unseen();
        let seen = overdue().filter(is_seen).count();
        let first_seen = first(&mut overdue().filter(is_seen));
        let subject = Subject::pod(&pod.id);
        if let Some(gap) = context.state.gap(sink.needs(), oldest) {
            sink.inconclusive(subject, || {
                Details::new(format!(
                    "no reap was recorded for {} zombies, but {gap}",
                    pod.overdue
                ))
            });
            return;
        }
        sink.fail(subject, || {
            let rate = first_seen.map_or_else(String::new, |first| {
                let seconds = context.now.saturating_sub(first) as f64 / 1e9;
                let rate = seen as f64 / seconds.max(1e-9);
                format!(", {rate:.1} more each second")
            });
            let found = match u64::from(pod.overdue).saturating_sub(seen as u64) {
                0 => String::new(),
                1 => "; 1 of them was found as a zombie".to_owned(),
                found => format!("; {found} of them were found as zombies"),
            };
            Details::new(format!(
                "{} zombies have not been reaped for more than {} (at most {} are allowed){rate}{found}",
                pod.overdue,
                Duration(limits.zombie),
                limits.zombies
            ))
            .expected("overdue zombies at most", Value::Number(limits.zombies.into()))
            .observed("overdue zombies", Value::Number(pod.overdue.into()))
            .observed("zombies", Value::Number(pod.zombies.into()))
            .evidence(oldest, "the oldest of them ended")
        });
    }
    let Some(pod) = blame::removed(context, change) else {
        return;
    };
    if pod.reaped > 0 && pod.overdue == 0 {
        sink.pass(Subject::pod(&pod.id), || {
            Details::new(format!(
                "zombies at the same time: at most {}; processes reaped: {}",
                pod.most_zombies, pod.reaped
            ))
            .expected(
                "overdue zombies at most",
                Value::Number(limits.zombies.into()),
            )
            .observed("most zombies", Value::Number(pod.most_zombies.into()))
            .observed("reaped", Value::Number(pod.reaped))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    fn zombies(scene: &mut Scene, parent: ProcessId, count: usize) -> Vec<ProcessId> {
        let children: Vec<_> = (0..count).map(|_| scene.fork(parent)).collect();
        for child in &children {
            scene.exit(*child, WaitStatus::exited(0));
        }
        children
    }

    #[test]
    fn more_overdue_zombies_than_allowed_are_a_warning() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        zombies(&mut scene, app, 65);
        scene.wait_ms(1_000);
        let verdicts = scene.expect("PT403", &[Outcome::Fail]);
        assert_eq!(verdicts[0].severity(), Severity::Warning);
        assert!(
            verdicts[0].details.message.starts_with("65 zombies"),
            "{}",
            verdicts[0].details.message
        );
    }

    #[test]
    fn as_many_zombies_as_allowed_do_not_fail() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        zombies(&mut scene, app, 64);
        scene.wait_ms(1_000);
        scene.remove_pod("p");
        scene.expect("PT403", &[]);
    }

    #[test]
    fn many_zombies_that_are_reaped_in_time_pass_with_their_number() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        for process in zombies(&mut scene, app, 1_000) {
            scene.reap(process);
        }
        scene.wait_ms(2_000);
        scene.remove_pod("p");
        let verdicts = scene.expect("PT403", &[Outcome::Pass]);
        assert_eq!(
            verdicts[0].details.message,
            "zombies at the same time: at most 1000; processes reaped: 1000"
        );
    }

    #[test]
    fn new_zombies_beside_one_overdue_zombie_do_not_fail() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        zombies(&mut scene, app, 1);
        scene.wait_ms(999);
        zombies(&mut scene, app, 500);
        scene.wait_ms(2);
        scene.expect("PT403", &[]);
    }

    #[test]
    fn lost_reaps_make_it_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let app = scene.container("p", "app");
        zombies(&mut scene, app, 65);
        scene.lose(Kind::Free, 65);
        scene.wait_ms(1_000);
        scene.expect("PT403", &[Outcome::Inconclusive]);
    }
}
