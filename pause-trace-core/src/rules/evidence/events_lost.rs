//! PT901: every event was seen.

use super::resting_on;
use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT901",
    name: "events-lost",
    severity: Severity::Warning,
    summary: "records of the kernel were lost: what rests on them can't pass",
    doc: "\
## What it checks
Each record that the kernel program could not hand over is counted, by kind. When some were lost, every promise that \
was seen kept on records of that kind becomes inconclusive for the pods that lived then; a promise that was seen \
broken stays broken. Pods that come later are not touched.

## Why it matters
A verdict on half of the facts is a guess. A setns, a kill or a reaping among the lost records would have been the \
very thing that was looked for.

## How to fix it
The reader could not keep up: give it CPU time (no tight `cpu` limit on the pod that traces), or fewer pods to \
watch. Losses of the kind `Watch` mean that the table of watched processes or cgroups is full.

## Example
    12 Exit records were lost: what PT401, PT402, PT404 say of the pods that live now is inconclusive where it was a pass

## Source
This program's own promise: no pass on facts that were lost.
",
    needs: &[],
    on: &[On::Lost],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::Lost { kind, count } = *change else {
        return;
    };
    sink.about(Topic::Records(kind)).inconclusive(Subject::default(), || {
        let rules = resting_on(kind);
        Details::new(format!(
            "{count} {kind:?} records were lost: what {rules} say of the pods that live now is inconclusive where it was a pass"
        ))
        .expected("lost", Value::Number(0))
        .observed("lost", Value::Number(count))
        .evidence(context.now, format!("{count} lost since they were last counted"))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    #[test]
    fn a_loss_is_told_with_kind_count_and_rules() {
        let mut scene = Scene::new();
        scene.lose(Kind::Free, 12);
        let verdicts = scene.expect("PT901", &[Outcome::Inconclusive]);
        let message = &verdicts[0].details.message;
        assert!(
            message.starts_with("12 Free records were lost: what PT"),
            "{message}"
        );
        assert!(
            message.contains("PT401") && !message.contains("PT501"),
            "{message}"
        );
    }

    #[test]
    fn each_kind_is_told_once() {
        let mut scene = Scene::new();
        scene.lose(Kind::Exec, 1);
        scene.lose(Kind::Exec, 5);
        scene.lose(Kind::Watch, 2);
        scene.expect("PT901", &[Outcome::Inconclusive, Outcome::Inconclusive]);
    }

    #[test]
    fn where_nothing_was_lost_there_is_nothing_to_say() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.container("p", "app");
        scene.remove_pod("p");
        scene.wait_ms(2_000);
        scene.expect("PT901", &[]);
    }
}
