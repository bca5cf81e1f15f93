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
mod stop_unhandled;
mod workers_cut_off;

use super::Check;

/// The family, in the order of ids.
pub(super) const CHECKS: &[Check] = &[
    stop_ignored::CHECK,
    killed_after_grace::CHECK,
    killed_without_stop::CHECK,
    stop_not_forwarded::CHECK,
    stop_twice::CHECK,
    pause_stop::CHECK,
    pause_fragile::CHECK,
    stop_pending::CHECK,
    stop_order::CHECK,
    foreign_kill::CHECK,
    workers_cut_off::CHECK,
    stop_unhandled::CHECK,
];
