//! PT9xx: evidence that is missing.

mod events_lost;
mod hook_missing;
mod identity_unknown;

use super::Check;
use crate::event::Kind;

/// The family, in the order of ids.
pub(super) const CHECKS: &[Check] = &[
    events_lost::CHECK,
    hook_missing::CHECK,
    identity_unknown::CHECK,
];

/// The rules that need records of this kind: `PT101, PT102`.
fn rules_that_need(kind: Kind) -> String {
    let rules: Vec<_> = super::all()
        .filter(|rule| rule.needs_kind(kind))
        .map(|rule| rule.id)
        .collect();
    if rules.is_empty() {
        "none".to_owned()
    } else {
        rules.join(", ")
    }
}
