//! PT901: no record of the kernel program was lost.

use super::{NO_RULE, rules_that_need};
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT901",
        name: "events-lost",
        severity: Severity::Warning,
        summary: "records of the kernel program were lost, and rules that need them cannot pass",
        doc: "\
## What it checks
The kernel program counts, by kind, each record that it could not deliver. After a loss, passes \
that depend on records of that kind become inconclusive for all pods that lived at that time, \
also for those that are identified only later. Failures remain failures. Pods that start later are \
not affected.

## Why it matters
A verdict must not depend on missing records: the lost record may be the setns, the kill or the \
reap that decides it.

## How to fix it
The reader was too slow: give it more CPU time (no tight `cpu` limit on its pod), or fewer pods to \
watch. A loss of the kind `Watch` means that the table of watched processes or cgroups is full.

## Example
    12 `exit` records were lost; for the current pods these rules cannot pass: PT401, PT402, PT404

## Source
This program's own promise: A rule does not pass if records that it needs were lost.
",
        needs: &[],
    },
    on: &[On::Lost],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Lost { kind, count } = *change else {
        return;
    };
    sink.about(Topic::Records(kind))
        .inconclusive(Subject::default(), || {
            let consequence = rules_that_need(kind).map_or(NO_RULE.to_owned(), |rules| {
                format!("for the current pods these rules cannot pass: {rules}")
            });
            let were = if count == 1 {
                "record was"
            } else {
                "records were"
            };
            Details::new(format!(
                "{count} `{}` {were} lost; {consequence}",
                kind.name()
            ))
            .expected("lost", Value::Number(0))
            .observed("lost", Value::Number(count))
            .evidence(
                context.now,
                format!("{count} lost since the last reading of the counters"),
            )
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn a_loss_is_reported_with_kind_count_and_rules() {
        let mut scene = Scene::new();
        scene.lose(Kind::Free, 12);
        let verdicts = scene.expect("PT901", &[Outcome::Inconclusive]);
        let message = &verdicts[0].details.message;
        assert!(
            message.starts_with(
                "12 `free` records were lost; for the current pods these rules cannot pass: PT"
            ),
            "{message}"
        );
        assert!(
            message.contains("PT401") && !message.contains("PT501"),
            "{message}"
        );
    }

    #[test]
    fn a_loss_that_no_rule_depends_on_says_so() {
        let mut scene = Scene::new();
        scene.lose(Kind::CgroupRmdir, 1);
        let verdicts = scene.expect("PT901", &[Outcome::Inconclusive]);
        assert_eq!(
            verdicts[0].details.message,
            "1 `cgroup_rmdir` record was lost; every rule can still pass"
        );
    }

    #[test]
    fn each_kind_is_reported_once() {
        let mut scene = Scene::new();
        scene.lose(Kind::Exec, 1);
        scene.lose(Kind::Exec, 5);
        scene.lose(Kind::Watch, 2);
        scene.expect("PT901", &[Outcome::Inconclusive, Outcome::Inconclusive]);
    }

    #[test]
    fn without_a_loss_nothing_is_reported() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "app");
        scene.remove_pod("p");
        scene.wait_ms(2_000);
        scene.expect("PT901", &[]);
    }
}
