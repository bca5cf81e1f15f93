//! PT4xx: zombies and the processes that must reap them.

mod adopted_outside;
mod blame;
mod exec_zombies;
mod pause_reaps;
mod zombie;
mod zombies_growing;

use super::Rule;

/// The family, in the order of ids.
pub(super) const RULES: &[Rule] = &[
    zombie::RULE,
    pause_reaps::RULE,
    zombies_growing::RULE,
    exec_zombies::RULE,
    adopted_outside::RULE,
];
