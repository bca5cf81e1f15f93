//! The scenarios of the reference pod.

mod cost;
mod lifetime;
mod namespaces;
mod signals;
mod uses;
mod zombies;

use super::scenario::Script;

/// The scenarios by subject.
const THEMES: [&[Script]; 6] = [
    namespaces::SCRIPTS,
    uses::SCRIPTS,
    lifetime::SCRIPTS,
    signals::SCRIPTS,
    zombies::SCRIPTS,
    cost::SCRIPTS,
];

/// Every scenario, in the order in which they run and are reported.
pub(crate) fn all() -> impl Iterator<Item = &'static Script> + Clone {
    THEMES.into_iter().flatten()
}
