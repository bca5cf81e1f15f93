//! PT302: a container ends within its grace period.

use crate::signal::SIGKILL;

use crate::rules::{
    ending::{self, Party},
    prelude::*,
};

pub(super) const RULE: Rule = Rule {
    id: "PT302",
    name: "killed-after-grace",
    severity: Severity::Warning,
    summary: "SIGKILL had to follow the stop signal",
    doc: "\
## What it checks
A container's init that got its stop signal should end before the runtime loses patience. This says how long the grace was, \
measured between the two signals, and whether that is what was asked for. Why it did not end is PT301's (ignored), PT304's \
(not forwarded) or PT308's (never taken) to say; if none of them does, it was merely slow.

## Why it matters
SIGKILL leaves no time for anything: requests are cut, files stay half-written, locks are held. And each such stop takes the \
whole grace period, in a rollout once per pod.

## How to fix it
Make the program end on its stop signal, or raise `terminationGracePeriodSeconds` above what it needs.

## Example
    init web (pid 812) was killed 30.0 s after SIGTERM from shim (pid 100, the runtime), of 30.0 s asked for

## Source
Kubernetes: Pod lifecycle, \"Termination of Pods\".
",
    needs: &[Kind::SignalGenerate, Kind::Exit],
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
    let by_runtime = |stop: &&Received| ending::party(init, stop) == Party::Runtime;
    let mut stops = ending::stops(init, container);
    let Some(stop) = ending::stops(init, container)
        .find(by_runtime)
        .or_else(|| stops.next())
    else {
        return;
    };
    let asked = ending::stopping(container, pod).map(|stop| stop.grace);
    if ended.status.signal() != Some(SIGKILL) {
        let took = ended.time.saturating_sub(stop.time);
        return sink.pass(Subject::process(init), || {
            let details = Details::new(format!(
                "ended {} after {}",
                Duration(took),
                signal_name(stop.signal)
            ))
            .observed("time to end", Value::Duration(took));
            asked.into_iter().fold(details, |details, grace| {
                details.expected("grace", Value::Duration(grace))
            })
        });
    }
    if init.oom.is_some() {
        return;
    }
    let Some(kill) = ending::fatal(init) else {
        return sink.inconclusive(Subject::process(init), || {
            Details::new("it was killed, and the sending of that SIGKILL was not seen")
        });
    };
    if ending::party(init, kill) != Party::Runtime || kill.time < stop.time {
        return; // the kernel's, a stranger's (PT310), the pod's own; or a stop signal that came too late
    }
    let grace = kill.time.saturating_sub(stop.time);
    sink.fail(Subject::process(init), || {
        let against = asked.map_or(String::new(), |asked| {
            format!(", of {} asked for", Duration(asked))
        });
        let details = Details::new(format!(
            "init {} (pid {}) was killed {} after {}{against}",
            init.comm,
            init.id.pid,
            Duration(grace),
            ending::from(context, init, stop)
        ))
        .observed("grace", Value::Duration(grace))
        .observed("end", Value::Status(ended.status));
        let details = asked.into_iter().fold(details, |details, grace| {
            details.expected("grace", Value::Duration(grace))
        });
        ending::story(context, init, details)
    });
}

#[cfg(test)]
mod tests {
    use crate::signal::SIGTERM;

    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn the_grace_is_measured_and_compared() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.stop_pod("p", 2_000);
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.wait_ms(1_500);
        scene.signal(scene.runtime, init, SIGKILL, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        let [verdict] = &scene.expect("PT302", &[Outcome::Fail])[..] else {
            panic!("one verdict")
        };
        let message = &verdict.details.message;
        assert!(
            message.contains("killed 1.50 s after SIGTERM from shim"),
            "{message}"
        );
        assert!(message.ends_with("of 2.00 s asked for"), "{message}");
        assert_eq!(verdict.details.evidence.len(), 3);
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
    fn the_kernels_and_a_strangers_sigkill_are_not_the_end_of_a_grace() {
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
    fn an_unseen_sigkill_is_inconclusive() {
        let mut scene = Scene::new();
        scene.pod("p");
        let init = scene.container("p", "a");
        scene.signal(scene.runtime, init, SIGTERM, SignalResult::Delivered);
        scene.end(init, WaitStatus::killed(SIGKILL));
        scene.expect("PT302", &[Outcome::Inconclusive]);
    }
}
