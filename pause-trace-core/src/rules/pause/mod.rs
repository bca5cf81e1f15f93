//! PT5xx: the pause process itself.

mod pause_hardened;
mod pause_identity;
mod pause_minimal;

use super::{Change, Check, Context, Sink, Subject};
use crate::{
    event::{PauseStatus, PodId, ProcessId},
    verdict::Details,
};

/// The family, in the order of ids.
pub(super) const CHECKS: &[Check] = &[
    pause_minimal::CHECK,
    pause_identity::CHECK,
    pause_hardened::CHECK,
];

/// The pause that was measured, or its pod if the pause is unknown.
fn subject(context: &Context<'_>, status: &PauseStatus) -> Subject {
    subject_of(context, status.process, &status.pod)
}

fn subject_of(context: &Context<'_>, pause: ProcessId, pod: &PodId) -> Subject {
    match context.inside(pause) {
        Some((process, ..)) => Subject::process(process),
        None => Subject::pod(pod),
    }
}

/// Says of a pause that could not be read that nothing is known of it. Most such pauses lived for a
/// few milliseconds.
fn unmeasured(context: &Context<'_>, change: &Change, sink: &mut Sink<'_>) {
    let Change::PauseUnmeasured {
        pod,
        process,
        reason,
    } = change
    else {
        return;
    };
    sink.inconclusive(subject_of(context, *process, pod), || {
        Details::new(format!(
            "the pause (pid {}) was not measured: {reason}",
            process.pid
        ))
    });
}
