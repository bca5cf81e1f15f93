//! PT503: a pause has no privileges, and the OOM killer spares it.

use super::{subject, unmeasured};
use crate::rules::prelude::*;

pub(super) const CHECK: Check = Check {
    rule: Rule {
        id: "PT503",
        name: "pause-hardened",
        severity: Severity::Warning,
        summary: "the pause has capabilities, lacks no_new_privs, or is not protected from the OOM killer",
        doc: "\
## What it checks
Each time the pause process is measured, it must have no effective capabilities, `no_new_privs` \
must be set, and its `oom_score_adj` must be below 0 if its creator was allowed to lower it. \
Capabilities in a user namespace of the pod's own are not checked, because they have no effect \
outside it.

## Why it matters
The pause needs no privileges, so any that it has only help an attacker who takes it over. And \
when memory runs out, the OOM killer must not choose the process that all others of the pod depend \
on.

## How to fix it
Use a sandbox image with an unprivileged user (Kubernetes' image runs as 65535:65535 since 3.5), \
and a runtime that sets `no_new_privs` and an `oom_score_adj` of -998 for sandboxes (containerd \
and CRI-O do).

## Example
    the pause (pid 812) runs as uid 0 with 14 capabilities (0xa80425fb)

## Source
capabilities(7); PR_SET_NO_NEW_PRIVS(2const); kubernetes/kubernetes#62536, #86337.
",
        needs: &[],
    },
    on: &[On::PauseStarted, On::PauseStatus, On::PauseUnmeasured],
    judge,
};

fn judge(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let (Change::PauseStarted(status) | Change::PauseStatus(status)) = change else {
        return unmeasured(context, change, sink);
    };
    let Some(pod) = context.state.pods.get(&status.pod) else {
        return;
    };
    let PauseStatus {
        uid,
        capabilities,
        no_new_privs,
        oom_score_adj,
        oom_adjustable,
        ..
    } = *status;
    let mut faults = Vec::new();
    if capabilities != 0 && pod.modes.user == Mode::Node {
        faults.push(format!(
            "runs as uid {uid} with {} ({capabilities:#x})",
            match capabilities.count_ones() {
                1 => "1 capability".to_owned(),
                count => format!("{count} capabilities"),
            }
        ));
    }
    if !no_new_privs {
        faults.push("lacks no_new_privs".to_owned());
    }
    if oom_adjustable && oom_score_adj >= 0 {
        faults.push(format!(
            "has an oom_score_adj of {oom_score_adj}, which is not below 0"
        ));
    }
    let pid = status.process.pid;
    let details = |message: String| {
        Details::new(message)
            .observed("uid", Value::Number(uid.into()))
            .observed("capabilities", Value::Text(format!("{capabilities:#x}")))
            .observed("no_new_privs", Value::Text(no_new_privs.to_string()))
            .observed("oom_score_adj", Value::Text(oom_score_adj.to_string()))
    };
    let subject = subject(context, status);
    if faults.is_empty() {
        sink.pass(subject, || {
            let reason = match oom_score_adj >= 0 {
                true => "; its creator was not allowed to lower it",
                false => "",
            };
            details(format!(
                "pid {pid} runs as uid {uid} with capabilities {capabilities:#x}, oom_score_adj \
                 {oom_score_adj}{reason}"
            ))
        });
    } else {
        sink.fail(subject, || {
            details(format!("the pause (pid {pid}) {}", faults.join(" and "))).evidence(
                context.now,
                format!("/proc/{pid}/status and oom_score_adj were read"),
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::*;

    fn judged(edit: impl FnOnce(&mut PauseStatus), outcome: Outcome) -> Details {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.pause_status("p", edit);
        let verdicts = scene.expect("PT503", &[outcome]);
        assert_eq!(verdicts[0].severity(), Severity::Warning);
        verdicts[0].details.clone()
    }

    #[test]
    fn an_unprivileged_pause_passes() {
        judged(|_| {}, Outcome::Pass);
    }

    #[test]
    fn each_weakness_fails() {
        let details = judged(
            |status| (status.uid, status.capabilities) = (0, 0xa804_25fb),
            Outcome::Fail,
        );
        assert!(
            details
                .message
                .ends_with("runs as uid 0 with 14 capabilities (0xa80425fb)"),
            "{}",
            details.message
        );
        judged(|status| status.no_new_privs = false, Outcome::Fail);
        judged(|status| status.oom_score_adj = 0, Outcome::Fail);
    }

    #[test]
    fn a_pause_is_judged_as_soon_as_it_has_executed() {
        let mut scene = Scene::new();
        scene.pod("p");
        scene.pause_started("p", |status| status.no_new_privs = false);
        scene.expect("PT503", &[Outcome::Fail]);
    }

    #[test]
    fn root_without_capabilities_passes() {
        judged(|status| status.uid = 0, Outcome::Pass);
    }

    #[test]
    fn the_oom_score_is_not_judged_if_it_could_not_be_lowered() {
        let reason = "; its creator was not allowed to lower it";
        for (oom_score_adj, is_reason) in [(0, true), (-998, false)] {
            let details = judged(
                |status| (status.oom_score_adj, status.oom_adjustable) = (oom_score_adj, false),
                Outcome::Pass,
            );
            let message = &details.message;
            assert_eq!(message.ends_with(reason), is_reason, "{message}");
        }
    }

    #[test]
    fn capabilities_in_the_pods_own_user_namespace_do_not_count() {
        let mut scene = Scene::new();
        scene.pod_with(
            "p",
            Modes {
                user: Mode::Pod,
                ..Modes::plain()
            },
            |_| {},
        );
        scene.pause_status("p", |status| {
            (status.uid, status.capabilities) = (100_000, 0x1ff_ffff_ffff)
        });
        scene.expect("PT503", &[Outcome::Pass]);
    }
}
