//! `--select` and `--ignore`: which rules run.

use clap::Args;

use super::{Usage, unknown};
use crate::{
    policy,
    rules::{self, Rule},
};

/// Which rules run. The longer match wins: `--ignore PT1 --select PT101` runs PT101 alone of its
/// family.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Run only these rules: ids, prefixes of ids (PT1 is a family) or names
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// Skip these rules: ids, prefixes of ids or names
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) ignore: Vec<String>,
}

impl Selection {
    /// Refuses a pattern that matches no rule, because a typo must not disable a check.
    pub(crate) fn validate(&self) -> Result<(), Usage> {
        let given = self.select.iter().chain(&self.ignore);
        for pattern in given {
            if !policy::is_rule(pattern) {
                let known = rules::all().flat_map(|rule| [rule.id, rule.name]);
                return Err(unknown("rule", pattern, known, "pause-trace rules"));
            }
        }
        if !rules::all().any(|rule| self.selects(rule)) {
            return Err(Usage(
                "--select and --ignore leave no rule to run".to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether a rule runs.
    pub(crate) fn selects(&self, rule: &Rule) -> bool {
        let longest = |patterns: &[String]| {
            patterns
                .iter()
                .filter_map(|pattern| policy::matches_rule(pattern, rule))
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
                selection(select, ignore).selects(rule),
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
