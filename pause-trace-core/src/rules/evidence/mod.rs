//! PT9xx: evidence that is missing.

mod events_lost;
mod hook_missing;
mod identity_unknown;

use super::Rule;
use crate::event::Kind;

/// The family, in the order of ids.
pub(super) const RULES: &[Rule] = &[
    events_lost::RULE,
    hook_missing::RULE,
    identity_unknown::RULE,
];

/// The rules that need records of this kind: `PT101, PT102`.
fn rules_that_need(kind: Kind) -> String {
    let rules: Vec<_> = super::all()
        .filter(|rule| rule.rests_on(kind))
        .map(|rule| rule.id)
        .collect();
    if rules.is_empty() {
        "none".to_owned()
    } else {
        rules.join(", ")
    }
}
