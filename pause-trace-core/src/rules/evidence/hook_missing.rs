//! PT902: the kernel has all hooks.

use super::{NO_RULE, rules_that_need};
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT902",
        name: "hook-missing",
        severity: Severity::Warning,
        summary: "the kernel lacks a hook, and rules that need it cannot pass",
        doc: "\
## What it checks
This rule reports each kind of record that the kernel cannot provide, because a tracepoint, a \
kprobe or a permission is missing. A rule that needs such records cannot pass, but may still fail \
on other records.

## Why it matters
Without its records, a rule would pass everything. The finding shows which promises cannot be \
verified on this node.

## How to fix it
`pause-trace doctor` shows for each hook what was tried and the kernel's error. A common cause is \
a kernel without `CONFIG_KPROBES`.

## Example
    the kernel has no hook for `namespace` records (kprobes are compiled out); these rules cannot \
pass: PT108, PT109

## Source
This program's own promise: A rule does not pass if records that it needs are not available.
",
        needs: &[],
    },
    on: &[On::HookMissing],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::HookMissing { kind, reason } = change else {
        return;
    };
    sink.about(Topic::Records(*kind))
        .inconclusive(Subject::default(), || {
            let consequence = rules_that_need(*kind).map_or(NO_RULE.to_owned(), |rules| {
                format!("these rules cannot pass: {rules}")
            });
            Details::new(format!(
                "the kernel has no hook for `{}` records ({reason}); {consequence}",
                kind.name()
            ))
            .evidence(context.now, format!("failed to attach the hook: {reason}"))
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    fn missing(scene: &mut Scene, kind: Kind, reason: &str) {
        scene.push(Fact::HookMissing {
            kind,
            reason: Text::new(reason),
        });
    }

    #[test]
    fn a_missing_hook_is_reported_with_the_rules_that_need_it() {
        let mut scene = Scene::new();
        missing(&mut scene, Kind::Free, "EPERM");
        let verdicts = scene.expect("PT902", &[Outcome::Inconclusive]);
        let message = &verdicts[0].details.message;
        assert!(
            message.starts_with("the kernel has no hook for `free` records (EPERM); "),
            "{message}"
        );
        assert!(message.contains("PT401"), "{message}");
    }

    #[test]
    fn each_hook_is_reported_once() {
        let mut scene = Scene::new();
        missing(&mut scene, Kind::Namespace, "a");
        missing(&mut scene, Kind::Namespace, "b");
        missing(&mut scene, Kind::OomVictim, "c");
        scene.expect("PT902", &[Outcome::Inconclusive, Outcome::Inconclusive]);
    }

    #[test]
    fn a_loss_is_no_missing_hook() {
        let mut scene = Scene::new();
        scene.lose(Kind::Free, 1);
        scene.expect("PT902", &[]);
    }
}
