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
fn rules_that_need(kind: Kind) -> Option<String> {
    let rules: Vec<_> = super::all()
        .filter(|rule| rule.needs_kind(kind))
        .map(|rule| rule.id)
        .collect();
    (!rules.is_empty()).then(|| rules.join(", "))
}

/// What is said where no rule needs the records that are missing.
const NO_RULE: &str = "every rule can still pass";
