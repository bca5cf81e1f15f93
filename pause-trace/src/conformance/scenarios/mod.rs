//! Scenarios on pods that a real runtime creates: healthy pods, and pods whose workload breaks a
//! promise.
//!
//! They have the same names as the corresponding scenarios of the reference pod.

mod lifetime;
mod namespaces;
mod signals;
mod zombies;

use super::scenario::Script;

/// The scenarios by subject.
const THEMES: [&[Script]; 4] = [
    namespaces::SCRIPTS,
    lifetime::SCRIPTS,
    signals::SCRIPTS,
    zombies::SCRIPTS,
];

/// Every scenario, in the order in which they run and are reported.
pub(crate) fn all() -> impl Iterator<Item = &'static Script> + Clone {
    THEMES.into_iter().flatten()
}

/// The scenario that needs a runtime with user namespaces.
pub(crate) const OWN_USERS: &str = "pod-own-users";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    #[test]
    fn names_are_unique_and_valid_pod_names() {
        let names: Vec<_> = all().map(|script| script.scenario.name).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{name}");
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(name.len() < 60 && name.bytes().all(plain), "{name}");
        }
        assert!(names.contains(&OWN_USERS));
    }

    #[test]
    fn every_scenario_depends_on_rules() {
        for scenario in all().map(|script| &script.scenario) {
            let mut rules = scenario.proves.iter().chain(scenario.finds).peekable();
            assert!(rules.peek().is_some(), "{}", scenario.name);
            for rule in rules {
                assert!(rules::find(rule).is_some(), "{}: {rule}", scenario.name);
            }
        }
    }
}
