//! PT5xx: the pause process itself.

mod pause_hardened;
mod pause_identity;
mod pause_minimal;

use super::{Context, Rule, Subject};
use crate::event::PauseStatus;

/// The family, in the order of ids.
pub(super) const RULES: &[Rule] = &[
    pause_minimal::RULE,
    pause_identity::RULE,
    pause_hardened::RULE,
];

/// The pause that was measured, or its pod if the pause is unknown.
fn subject(context: &Context<'_>, status: &PauseStatus) -> Subject {
    match context.inside(status.process) {
        Some((process, ..)) => Subject::process(process),
        None => Subject::pod(&status.pod),
    }
}
