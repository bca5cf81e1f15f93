//! PT2xx: a pod's sandbox from its creation to its end.

mod init_stuck;
mod leftovers;
mod netns_leaked;
mod pause_died;
mod pause_leaked;
mod sandbox_first;
mod stale_sandbox;
mod teardown_stalled;

use super::Rule;

/// The family, in the order of ids.
pub(super) const RULES: &[Rule] = &[
    sandbox_first::RULE,
    pause_died::RULE,
    stale_sandbox::RULE,
    pause_leaked::RULE,
    leftovers::RULE,
    netns_leaked::RULE,
    init_stuck::RULE,
    teardown_stalled::RULE,
];
