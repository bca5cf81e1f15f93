//! PT902: the kernel can be asked everything.

use super::resting_on;
use crate::rules::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "PT902",
    name: "hook-missing",
    severity: Severity::Warning,
    summary: "the kernel lacks a hook: rules that need it stay inconclusive",
    doc: "\
## What it checks
Which kinds of records this kernel can't give, because a tracepoint, a kprobe or a permission is missing. A rule \
that needs one of them never passes; it may still fail on what is seen.

## Why it matters
A rule that looks at nothing would pass everything. Better to know that a promise can't be checked on this node.

## How to fix it
`pause-trace doctor` says for each hook what was tried and what the kernel answered. Mostly it is a kernel built \
without `CONFIG_KPROBES` or BTF, lockdown mode, or a pod that lacks `CAP_BPF` and `CAP_PERFMON`.

## Example
    the kernel has no hook for Namespace records (kprobes are compiled out): PT108, PT109 can't pass

## Source
This program's own promise: no pass on facts that could not be had.
",
    needs: &[],
    on: &[On::HookMissing],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::HookMissing { kind, reason } = change else {
        return;
    };
    sink.about(Topic::Records(*kind))
        .inconclusive(Subject::default(), || {
            let rules = resting_on(*kind);
            Details::new(format!(
                "the kernel has no hook for {kind:?} records ({reason}): {rules} can't pass"
            ))
            .evidence(context.now, format!("the hook was refused: {reason}"))
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
    fn a_missing_hook_is_told_with_the_rules_it_takes() {
        let mut scene = Scene::new();
        missing(&mut scene, Kind::Free, "EPERM");
        let verdicts = scene.expect("PT902", &[Outcome::Inconclusive]);
        let message = &verdicts[0].details.message;
        assert!(
            message.starts_with("the kernel has no hook for Free records (EPERM): "),
            "{message}"
        );
        assert!(message.contains("PT401"), "{message}");
    }

    #[test]
    fn each_hook_is_told_once() {
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
