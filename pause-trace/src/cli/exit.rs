//! Exit codes: an interface, as much as any output.

use std::process::ExitCode;

use crate::{
    report::ScenarioResult,
    sink::Failed,
    verdict::{Outcome, Severity, Verdict},
};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Every verdict passed; or the command did what it was asked for.
    Pass = 0,
    /// At least one violation at or above `--fail-on`.
    Violation = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Evidence was lost or is missing, and nothing is known to be violated.
    Inconclusive = 3,
    /// Privileges, the kernel, a full disk.
    CannotRun = 4,
    /// Ctrl-C, after a clean detach.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that is the caller's: printed as it is, exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

impl Exit {
    /// What an error that ended the program means. [`Failed::Closed`] is never one: it ends a run as [`End::Closed`].
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<Usage>() {
            Self::Usage
        } else {
            Self::CannotRun
        }
    }
}

/// Why a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It did what it was asked for.
    Finished,
    /// Ctrl-C.
    Interrupted,
    /// Whoever read the report left. What was not judged any more is not known to be good: such a run ends with
    /// [`Exit::Violation`] or [`Exit::Inconclusive`], never with [`Exit::Pass`].
    Closed,
}

impl End {
    /// Takes an error that only says that the reader left for the end that it is.
    pub(crate) fn from_failed(failed: Failed) -> Result<Self, Failed> {
        match failed {
            Failed::Closed(_) => Ok(Self::Closed),
            Failed::Write { .. } => Err(failed),
        }
    }
}

/// What was decided in a run, as far as the exit code depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    info: u64,
    warning: u64,
    error: u64,
    inconclusive: u64,
}

impl Tally {
    pub(crate) fn verdict(&mut self, verdict: &Verdict) {
        match (verdict.outcome, verdict.severity()) {
            (Outcome::Pass, _) => {}
            (Outcome::Inconclusive, _) => self.inconclusive += 1,
            (Outcome::Fail, Severity::Info) => self.info += 1,
            (Outcome::Fail, Severity::Warning) => self.warning += 1,
            (Outcome::Fail, Severity::Error) => self.error += 1,
        }
    }

    /// A scenario that fails is a promise broken, whatever rule saw it.
    pub(crate) fn scenario(&mut self, scenario: &ScenarioResult) {
        match scenario.outcome {
            Outcome::Pass => {}
            Outcome::Inconclusive => self.inconclusive += 1,
            Outcome::Fail => self.error += 1,
        }
    }

    /// How a run with these verdicts ends.
    pub(crate) fn decide(&self, fail_on: Severity, end: End) -> Exit {
        let of_severity = [
            (Severity::Info, self.info),
            (Severity::Warning, self.warning),
            (Severity::Error, self.error),
        ];
        let violated = of_severity
            .into_iter()
            .any(|(severity, count)| severity >= fail_on && count > 0);
        match end {
            End::Interrupted => Exit::Interrupted,
            _ if violated => Exit::Violation,
            End::Closed => Exit::Inconclusive,
            End::Finished if self.inconclusive > 0 => Exit::Inconclusive,
            End::Finished => Exit::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    const CLEAN: Tally = Tally {
        info: 0,
        warning: 0,
        error: 0,
        inconclusive: 0,
    };

    #[test]
    fn the_codes_are_the_contracts() {
        let codes = [
            Exit::Pass,
            Exit::Violation,
            Exit::Usage,
            Exit::Inconclusive,
            Exit::CannotRun,
            Exit::Interrupted,
        ];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3, 4, 130]);
    }

    #[test]
    fn only_severities_from_fail_on_up_are_violations() {
        let warned = Tally {
            warning: 1,
            ..CLEAN
        };
        assert_eq!(CLEAN.decide(Severity::Info, End::Finished), Exit::Pass);
        assert_eq!(warned.decide(Severity::Error, End::Finished), Exit::Pass);
        assert_eq!(
            warned.decide(Severity::Warning, End::Finished),
            Exit::Violation
        );
        assert_eq!(
            Tally { error: 1, ..CLEAN }.decide(Severity::Error, End::Finished),
            Exit::Violation
        );
        assert_eq!(
            Tally { info: 1, ..CLEAN }.decide(Severity::Info, End::Finished),
            Exit::Violation
        );
    }

    #[test]
    fn a_violation_outweighs_a_doubt() {
        let doubtful = Tally {
            inconclusive: 1,
            ..CLEAN
        };
        assert_eq!(
            doubtful.decide(Severity::Error, End::Finished),
            Exit::Inconclusive
        );
        assert_eq!(
            Tally {
                error: 1,
                ..doubtful
            }
            .decide(Severity::Error, End::Finished),
            Exit::Violation
        );
    }

    #[test]
    fn a_run_cut_short_never_passes() {
        assert_eq!(
            CLEAN.decide(Severity::Error, End::Closed),
            Exit::Inconclusive
        );
        assert_eq!(
            Tally { error: 1, ..CLEAN }.decide(Severity::Error, End::Closed),
            Exit::Violation
        );
        assert_eq!(
            CLEAN.decide(Severity::Error, End::Interrupted),
            Exit::Interrupted
        );
    }

    #[test]
    fn errors_say_whose_they_are() {
        assert_eq!(
            Exit::of(&Usage("no such rule".to_owned()).into()),
            Exit::Usage
        );
        assert_eq!(Exit::of(&anyhow!("failed to load")), Exit::CannotRun);
        let wrapped = anyhow::Error::from(Usage("x".to_owned())).context("while reading");
        assert_eq!(Exit::of(&wrapped), Exit::Usage);
    }
}
