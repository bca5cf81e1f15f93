//! Pods as they should be.

mod cost;
mod lifetime;
mod namespaces;
mod signals;
mod uses;
mod zombies;

use super::scenario::Scenario;

/// By theme.
const THEMES: [&[Scenario]; 6] = [
    namespaces::SCENARIOS,
    uses::SCENARIOS,
    lifetime::SCENARIOS,
    signals::SCENARIOS,
    zombies::SCENARIOS,
    cost::SCENARIOS,
];

/// Every scenario, in the order they are played and reported.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> + Clone {
    THEMES.into_iter().flatten()
}
