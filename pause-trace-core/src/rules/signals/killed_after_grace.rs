//! PT302: a container ends within its grace period.

use crate::signal::SIGKILL;

use crate::rules::{
    ending::{self, AFTER, Party},
    prelude::*,
};

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT302",
        name: "killed-after-grace",
        severity: Severity::Warning,
        summary: "a container did not end within its grace period and was killed",
        doc: "\
## What it checks
After its stop signal, a container's init must end before the runtime sends SIGKILL. The finding \
reports the time between the two signals and the grace period, if it is known: the one that the \
kubelet wrote down for the pod, or the stop timeout of Docker or Podman. A stop can ask for another \
one (`kubectl delete --grace-period`, `docker stop --time`), which nothing on the node shows. The \
runtime may send SIGKILL earlier: a preStop hook uses the same grace period, and a \
kubelet also kills what is left in the cgroup of a pod that it removes. PT301 (signal ignored), \
PT304 (not forwarded) or PT308 (not acted on) reports the reason. If none of them fails, the \
program was too slow.

## Why it matters
SIGKILL cannot be handled: requests are interrupted, files stay incomplete, and locks stay held. \
Each such stop also takes the whole grace period, for every pod of a rollout.

## How to fix it
Make the program end on its stop signal, or set `terminationGracePeriodSeconds` to more than the \
program needs.

## Example
    init web (pid 812) was killed 30.0 s after SIGTERM from shim (pid 100, the runtime); its grace \
period is 30.0 s

## Source
Kubernetes: Pod lifecycle, \"Termination of Pods\".
",
        needs: &[Kind::SignalGenerate, Kind::Exit],
    },
    on: &[On::Ended],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Ended(process) = change else {
        return;
    };
    let Some((init, container, pod)) = context.inside(*process) else {
        return;
    };
    let Some(ended) = init.ended.filter(|_| init.role == Role::Init) else {
        return;
    };
    if ending::is_stop_unknown(context, init, container, sink) {
        return;
    }
    let by_runtime = |stop: &&Received| ending::party(init, stop) == Party::Runtime;
    let mut stops = ending::stops(init, container);
    let Some(stop) = ending::stops(init, container)
        .find(by_runtime)
        .or_else(|| stops.next())
    else {
        return;
    };
    let requested = ending::grace(container, pod);
    if ended.status.signal() != Some(SIGKILL) {
        let took = ended.time.saturating_sub(stop.time);
        return sink.pass(Subject::process(init), || {
            let details = Details::new(format!(
                "ended {} after {}",
                Duration(took),
                signal_name(stop.signal)
            ))
            .observed("time to end", Value::Duration(took));
            requested.into_iter().fold(details, |details, grace| {
                details.expected("grace", Value::Duration(grace.period))
            })
        });
    }
    if init.is_oom_killed() {
        return;
    }
    let Some(kill) = ending::fatal(init) else {
        return sink.inconclusive(Subject::process(init), || {
            Details::new(format!(
                "init {} (pid {}) was killed, but the sender of the SIGKILL was not recorded",
                init.comm, init.id.pid
            ))
        });
    };
    if ending::party(init, kill) != Party::Runtime || kill.time < stop.time {
        // From the kernel, a foreign process (PT310) or the pod; or the stop signal came later.
        return;
    }
    let grace = kill.time.saturating_sub(stop.time);
    sink.fail(Subject::process(init), || {
        let limit = match requested {
            None => "; its grace period is unknown, so it may have been killed before that ended"
                .to_owned(),
            // A preStop hook uses the same grace period.
            Some(whole) if grace < whole.period - whole.period / 10 => {
                let doubt = whole
                    .doubt()
                    .map_or("", |_| ", or the stop asked for a shorter one");
                format!(
                    "; its grace period is {}, so it was killed before that ended, unless a \
                     preStop hook took the rest{doubt}",
                    Duration(whole.period)
                )
            }
            Some(whole) => format!("; its grace period is {}", Duration(whole.period)),
        };
        let details = Details::new(format!(
            "init {} (pid {}) was killed {} after {}{limit}",
            init.comm,
            init.id.pid,
            Duration(grace),
            ending::from(context, init, stop)
        ))
        .observed(AFTER, Value::Duration(grace))
        .observed("end", Value::Status(ended.status));
        let details = requested.into_iter().fold(details, |details, grace| {
            details.expected("grace", Value::Duration(grace.period))
        });
        ending::with_history(context, init, details)
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::SIGTERM;

    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn the_grace_period_is_measured_and_reported() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.stop_pod("p", 2_000);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.wait_ms(1_990);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        let [verdict] = &scene.expect("PT302", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(
            message.contains("killed 1.99 s after SIGTERM from shim"),
            "{message}"
        );
        assert!(message.ends_with("its grace period is 2.00 s"), "{message}");
        assert_eq!(verdict.details.evidence.len(), 3);
    }

    #[test]
    fn a_kill_before_the_end_of_the_grace_period_is_not_called_one_after_it() {
        let killed = |requested_ms: Option<u64>| {
            let mut scene = Scene::new();
            scene.pod("p");
            let init = scene.container("p", "a");
            if let Some(ms) = requested_ms {
                scene.stop_pod("p", ms);
            }
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            scene.wait_ms(365);
            scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
            scene.end(init, WaitStatus::killed(SIGKILL));
            scene.expect("PT302", &[Outcome::Fail])[0].details.clone()
        };
        let unknown = killed(None);
        assert!(
            unknown.message.ends_with(
                "; its grace period is unknown, so it may have been killed before that ended"
            ),
            "{}",
            unknown.message
        );
        assert_eq!(unknown.expected, []);
        assert_eq!(unknown.observed[0].0, "killed after");
        let known = killed(Some(3_000));
        assert!(
            known
                .message
                .contains("is 3.00 s, so it was killed before that ended"),
            "{}",
            known.message
        );
    }

    #[test]
    fn the_period_that_a_container_was_created_with_is_known_unless_its_stop_has_another() {
        let killed = |source, stop_ms: Option<u64>| {
            let mut scene = Scene::new();
            scene.pod("p");
            let init = scene.container("p", "a");
            let period = 10_000_000_000;
            scene.push(Fact::GracePeriod {
                container: "a".into(),
                grace: Grace { period, source },
            });
            if let Some(ms) = stop_ms {
                scene.stop_pod("p", ms);
            }
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            scene.wait_ms(2_000);
            scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
            scene.end(init, WaitStatus::killed(SIGKILL));
            scene.expect("PT302", &[Outcome::Fail])[0].details.clone()
        };
        let spec = killed(GraceSource::Spec, None);
        let (key, value) = &spec.expected[0];
        assert_eq!((*key, value), ("grace", &Value::Duration(10_000_000_000)));
        let message = &spec.message;
        assert!(
            message.contains("its grace period is 10.00 s, so it was killed before that ended")
                && message.ends_with(", or the stop asked for a shorter one"),
            "{message}"
        );
        let deleted = killed(GraceSource::Stop, None).message;
        assert!(deleted.ends_with("hook took the rest"), "{deleted}");
        let stopped = killed(GraceSource::Spec, Some(2_000)).message;
        assert!(stopped.ends_with("its grace period is 2.00 s"), "{stopped}");
    }

    #[test]
    fn an_end_in_time_passes() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.wait_ms(20);
        scene.end(init, WaitStatus::exited(1));
        scene.expect("PT302", &[Outcome::Pass]);
    }

    #[test]
    fn sigkill_from_the_kernel_or_a_foreign_process_is_not_judged() {
        let mut scene = Scene::new();
        scene.pod("p");
        for (name, code, sender) in [
            ("oom", SI_KERNEL, scene.runtime),
            ("teardown", SI_KERNEL, scene.runtime),
            ("foreign", 0, scene.stranger),
        ] {
            let init = scene.container("p", name);
            scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
            if name == "oom" {
                scene.push(Fact::OomVictim { pid: init.pid });
            }
            scene.signal_with_code(sender, init, SIGKILL, SignalResult::Delivered, code);
            scene.end(init, WaitStatus::killed(SIGKILL));
        }
        scene.expect("PT302", &[]);
    }

    #[test]
    fn a_sigkill_without_a_record_is_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        scene.expect("PT302", &[Outcome::Inconclusive]);
    }
}
