//! PT2xx: a pod's sandbox from its creation to its end.

mod init_stuck;
mod leftovers;
mod netns_leaked;
mod oom_killed;
mod pause_died;
mod pause_leaked;
mod sandbox_first;
mod session_left;
mod stale_sandbox;
mod start_failed;
mod supervisor_died;
mod teardown_stalled;

use super::Check;

/// The family, in the order of ids.
pub(super) const CHECKS: &[Check] = &[
    sandbox_first::CHECK,
    pause_died::CHECK,
    stale_sandbox::CHECK,
    pause_leaked::CHECK,
    leftovers::CHECK,
    netns_leaked::CHECK,
    init_stuck::CHECK,
    teardown_stalled::CHECK,
    session_left::CHECK,
    supervisor_died::CHECK,
    oom_killed::CHECK,
    start_failed::CHECK,
];
