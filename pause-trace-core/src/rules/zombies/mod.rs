//! PT4xx: zombies and the processes that must reap them.

mod adopted_outside;
mod blame;
mod exec_zombies;
mod pause_reaps;
mod zombie;
mod zombies_growing;

use super::Check;

/// The family, in the order of ids.
pub(super) const CHECKS: &[Check] = &[
    zombie::CHECK,
    pause_reaps::CHECK,
    zombies_growing::CHECK,
    exec_zombies::CHECK,
    adopted_outside::CHECK,
];
