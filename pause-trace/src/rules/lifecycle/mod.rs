//! PT2xx: a pod's sandbox from its making to its end.

mod init_stuck;
mod leftovers;
mod pause_died;
mod sandbox_first;
mod stale_sandbox;
mod teardown_stalled;

use super::Rule;

/// The family, in the order of ids.
pub(super) const RULES: &[Rule] = &[
    sandbox_first::RULE,
    pause_died::RULE,
    stale_sandbox::RULE,
    leftovers::RULE,
    init_stuck::RULE,
    teardown_stalled::RULE,
];
