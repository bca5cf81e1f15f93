//! The result of the verification of a pod, and assertions about it.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

/// The result of the verification of a pod.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub(super) verdicts: Value,
    pub(super) lines: Vec<Value>,
}

impl Outcome {
    /// The lines about the pod.
    #[must_use]
    pub fn lines(&self) -> &[Value] {
        &self.lines
    }

    /// The rules that were broken, of any severity. Without PT312: whether it is said of a
    /// container that would not take its stop signal depends on how long the test lets it run.
    #[must_use]
    pub fn broken(&self) -> BTreeSet<&str> {
        let mut broken = self.found();
        broken.remove("PT312");
        broken
    }

    /// The rules that were broken, of any severity.
    fn found(&self) -> BTreeSet<&str> {
        let findings = self.lines.iter().filter(|line| line["type"] == "finding");
        findings
            .filter_map(|finding| finding["rule"].as_str())
            .collect()
    }

    /// The rules that were broken, without those of severity `info`.
    #[must_use]
    pub fn accused(&self) -> BTreeSet<&str> {
        let findings = self.lines.iter().filter(|line| line["type"] == "finding");
        findings
            .filter(|finding| finding["severity"] != "info")
            .filter_map(|finding| finding["rule"].as_str())
            .collect()
    }

    /// The number of inconclusive verdicts.
    #[must_use]
    pub fn inconclusive(&self) -> u64 {
        let count = self.verdicts["inconclusive"].as_u64();
        count.unwrap_or_default()
    }

    /// The names of the containers whose entrypoints ended, in the order of their ends.
    #[must_use]
    pub fn ended(&self) -> Vec<&str> {
        let ends = self.lines.iter().filter(|line| line["event"] == "ended");
        ends.filter_map(|line| line["container"]["name"].as_str())
            .collect()
    }

    /// Asserts that exactly these rules were broken, and no verdict is inconclusive.
    ///
    /// # Panics
    /// When other rules were broken, or a verdict is inconclusive.
    #[track_caller]
    pub fn assert_broken<'a>(&self, rules: impl IntoIterator<Item = &'a str>) {
        let rules: BTreeSet<_> = rules.into_iter().collect();
        assert_eq!(self.broken(), rules, "{self}");
        assert_eq!(self.verdicts["inconclusive"], 0, "{self}");
    }

    /// Asserts that no rule was broken, no verdict is inconclusive, and each of these containers is
    /// in the right namespaces.
    ///
    /// # Panics
    /// When the assertion fails.
    #[track_caller]
    pub fn assert_healthy<'a>(&self, containers: impl IntoIterator<Item = &'a str>) {
        self.assert_broken([]);
        assert_eq!(self.found(), BTreeSet::new(), "{self}");
        self.assert_placed(containers);
    }

    /// Asserts that the verdicts prove that each of these containers is in the right namespaces.
    ///
    /// # Panics
    /// When such a verdict is missing.
    #[track_caller]
    pub fn assert_placed<'a>(&self, containers: impl IntoIterator<Item = &'a str>) {
        for container in containers {
            for rule in MEMBERSHIP {
                assert!(
                    self.passed(rule, container),
                    "no {rule} passed for {container}: {self}"
                );
            }
        }
    }

    /// Whether the last verdict of a rule about a container is `pass`.
    #[must_use]
    pub fn passed(&self, rule: &str, container: &str) -> bool {
        let mut verdicts = self.lines.iter().rev();
        let last = verdicts.find(|line| {
            line["type"] == "verdict"
                && line["rule"] == rule
                && (line["container"]["name"] == container || line["container"]["id"] == container)
        });
        last.is_some_and(|line| line["verdict"] == "pass")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "the verdicts are {}, and the lines of the pod:",
            self.verdicts
        )?;
        show(&self.lines, f)
    }
}

/// The rules about the namespaces of a container: net, ipc, uts and pid.
const MEMBERSHIP: [&str; 4] = ["PT101", "PT102", "PT103", "PT104"];

/// Shows lines. Verdicts that passed are shortened, because they do not explain a failure.
pub(super) fn show(lines: &[Value], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for line in lines {
        if line["verdict"] == "pass" {
            let (rule, container) = (&line["rule"], &line["container"]["name"]);
            writeln!(f, "{rule} passed for {container}: {}", line["message"])?;
        } else {
            writeln!(f, "{line}")?;
        }
    }
    Ok(())
}
