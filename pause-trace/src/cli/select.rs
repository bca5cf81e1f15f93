//! `--select` and `--ignore`: which rules are asked.

use clap::Args;

use super::{Usage, unknown};
use crate::rules::{self, Rule};

/// Which rules are asked. The longer match wins: `--ignore PT1 --select PT101` leaves PT101 of its family.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Run only these rules: ids, the beginning of ids (PT1 is a family) or names
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// Skip these rules: ids, the beginning of ids or names
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) ignore: Vec<String>,
}

impl Selection {
    /// Refuses what matches no rule: a typo must not switch a check off.
    pub(crate) fn validate(&self) -> Result<(), Usage> {
        let given = self.select.iter().chain(&self.ignore);
        for pattern in given {
            if !rules::all().any(|rule| matches(pattern, rule).is_some()) {
                let known = rules::all().flat_map(|rule| [rule.id, rule.name]);
                return Err(unknown("rule", pattern, known, "pause-trace rules"));
            }
        }
        if !rules::all().any(|rule| self.takes(rule)) {
            return Err(Usage(
                "--select and --ignore leave no rule to ask".to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether a rule is asked.
    pub(crate) fn takes(&self, rule: &Rule) -> bool {
        let longest = |patterns: &[String]| {
            patterns
                .iter()
                .filter_map(|pattern| matches(pattern, rule))
                .max()
        };
        match (longest(&self.select), longest(&self.ignore)) {
            (Some(selected), Some(ignored)) => selected > ignored,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => self.select.is_empty(),
        }
    }
}

/// How closely a pattern matches: by how many letters of the id; a name is as good as the whole id.
fn matches(pattern: &str, rule: &Rule) -> Option<usize> {
    let begins = rule
        .id
        .get(..pattern.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(pattern));
    if pattern == rule.name {
        Some(rule.id.len())
    } else {
        (begins && !pattern.is_empty()).then_some(pattern.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(select: &[&str], ignore: &[&str]) -> Selection {
        let owned = |patterns: &[&str]| {
            patterns
                .iter()
                .map(|pattern| (*pattern).to_owned())
                .collect()
        };
        Selection {
            select: owned(select),
            ignore: owned(ignore),
        }
    }

    #[test]
    fn the_longer_match_wins() {
        let rule = rules::find("PT101").expect("PT101 is in the table");
        for (select, ignore, taken) in [
            (&[][..], &[][..], true),
            (&["PT1"], &[], true),
            (&["pt101"], &["PT1"], true),
            (&["net-shared"], &["PT1"], true),
            (&["PT1"], &["PT101"], false),
            (&[], &["PT1"], false),
            (&["PT9"], &[], false),
            (&["PT101"], &["PT101"], false),
        ] {
            assert_eq!(
                selection(select, ignore).takes(rule),
                taken,
                "{select:?} {ignore:?}"
            );
        }
    }

    #[test]
    fn a_typo_is_refused() {
        let error = selection(&["net-shard"], &[])
            .validate()
            .expect_err("no such rule")
            .to_string();
        assert_eq!(
            error,
            "there is no rule \"net-shard\"; did you mean \"net-shared\"? (pause-trace rules shows all)"
        );
        assert!(selection(&[""], &[]).validate().is_err());
        assert!(
            selection(&[], &["PT"]).validate().is_err(),
            "nothing is left"
        );
        assert!(selection(&["PT1"], &[]).validate().is_ok());
    }
}
