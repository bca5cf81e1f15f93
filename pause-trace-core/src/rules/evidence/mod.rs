//! PT9xx: what could not be seen.

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

/// The rules whose passes rest on records of this kind: `PT101, PT102`.
fn resting_on(kind: Kind) -> String {
    let rules: Vec<_> = super::all()
        .filter(|rule| rule.rests_on(kind))
        .map(|rule| rule.id)
        .collect();
    if rules.is_empty() {
        "no rules".to_owned()
    } else {
        rules.join(", ")
    }
}
