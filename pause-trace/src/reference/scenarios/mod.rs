//! Pods as they should be.

mod cost;
mod lifetime;
mod namespaces;
mod signals;
mod uses;
mod zombies;

use super::scenario::Script;

/// By theme.
const THEMES: [&[Script]; 6] = [
    namespaces::SCRIPTS,
    uses::SCRIPTS,
    lifetime::SCRIPTS,
    signals::SCRIPTS,
    zombies::SCRIPTS,
    cost::SCRIPTS,
];

/// Every scenario, in the order they are played and reported.
pub(crate) fn all() -> impl Iterator<Item = &'static Script> + Clone {
    THEMES.into_iter().flatten()
}
