//! PT5xx: the pause process itself.

mod pause_hardened;
mod pause_identity;
mod pause_minimal;

use super::{Check, Context, Subject};
use crate::event::PauseStatus;

/// The family, in the order of ids.
pub(super) const CHECKS: &[Check] = &[
    pause_minimal::CHECK,
    pause_identity::CHECK,
    pause_hardened::CHECK,
];

/// The pause that was measured, or its pod if the pause is unknown.
fn subject(context: &Context<'_>, status: &PauseStatus) -> Subject {
    match context.inside(status.process) {
        Some((process, ..)) => Subject::process(process),
        None => Subject::pod(&status.pod),
    }
}
