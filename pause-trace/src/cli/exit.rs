//! Exit codes. They are part of the interface.

use std::process::ExitCode;

use crate::{
    report::ScenarioResult,
    sink::Failed,
    verdict::{Outcome, Severity, Verdict},
};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Every verdict passed, or the command succeeded.
    Pass = 0,
    /// At least one violation at or above `--fail-on`.
    Violation = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Evidence was lost or is missing, or what was asked for is not there, and no violation is
    /// known.
    Inconclusive = 3,
    /// The program cannot run: privileges, the kernel, a full disk.
    CannotRun = 4,
    /// Ctrl-C, after a clean detach.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A usage error: printed without a prefix, exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// What the user asked for is not there: a pod, or a runtime at a socket. Exit code 3, because
/// nothing is known about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Missing(pub(crate) String);

impl Exit {
    /// The exit code of an error that ended the program. [`Failed::Closed`] is not such an error:
    /// it ends a run as [`End::Closed`].
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<Usage>() {
            Self::Usage
        } else if error.is::<Missing>() {
            Self::Inconclusive
        } else {
            Self::CannotRun
        }
    }
}

/// Why a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It completed.
    Finished,
    /// Ctrl-C.
    Interrupted,
    /// The reader of the report left, the recording is incomplete, or what the user asked for was
    /// not there. The rest was not judged and may contain violations, so such a run ends with
    /// [`Exit::Violation`] or [`Exit::Inconclusive`], never with [`Exit::Pass`].
    Closed,
}

impl End {
    /// Turns the error of a reader that left into an end of the run; returns any other error.
    pub(crate) fn from_failed(failed: Failed) -> Result<Self, Failed> {
        match failed {
            Failed::Closed(_) => Ok(Self::Closed),
            Failed::Write { .. } => Err(failed),
        }
    }
}

/// Counts of a run's verdicts, from which the exit code follows.
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
            (Outcome::Fail, _) if verdict.excepted().is_some() => {}
            (Outcome::Inconclusive, _) => self.inconclusive += 1,
            (Outcome::Fail, Severity::Info) => self.info += 1,
            (Outcome::Fail, Severity::Warning) => self.warning += 1,
            (Outcome::Fail, Severity::Error) => self.error += 1,
        }
    }

    /// A scenario that fails counts as an error, whatever the severity of the rule that found it.
    pub(crate) fn scenario(&mut self, scenario: &ScenarioResult) {
        match scenario.outcome {
            Outcome::Pass => {}
            Outcome::Inconclusive => self.inconclusive += 1,
            Outcome::Fail => self.error += 1,
        }
    }

    /// The exit code of a run with these verdicts.
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
    fn the_codes_are_fixed() {
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
    fn a_violation_outweighs_an_inconclusive_verdict() {
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
    fn usage_errors_have_their_own_exit_code() {
        assert_eq!(
            Exit::of(&Usage("no such rule".to_owned()).into()),
            Exit::Usage
        );
        assert_eq!(Exit::of(&anyhow!("failed to load")), Exit::CannotRun);
        assert_eq!(
            Exit::of(&Missing("no such pod".to_owned()).into()),
            Exit::Inconclusive
        );
        let wrapped = anyhow::Error::from(Usage("x".to_owned())).context("while reading");
        assert_eq!(Exit::of(&wrapped), Exit::Usage);
    }
}
