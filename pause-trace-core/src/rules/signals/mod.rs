//! PT3xx: signals that stop or kill containers and the pause.

mod foreign_kill;
mod killed_after_grace;
mod killed_without_stop;
mod pause_fragile;
mod pause_stop;
mod stop_ignored;
mod stop_not_forwarded;
mod stop_order;
mod stop_pending;
mod stop_twice;

use super::Rule;

/// The family, in the order of ids.
pub(super) const RULES: &[Rule] = &[
    stop_ignored::RULE,
    killed_after_grace::RULE,
    killed_without_stop::RULE,
    stop_not_forwarded::RULE,
    stop_twice::RULE,
    pause_stop::RULE,
    pause_fragile::RULE,
    stop_pending::RULE,
    stop_order::RULE,
    foreign_kill::RULE,
];
