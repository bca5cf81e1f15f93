//! One short line for node-problem-detector, which shows it as the message of a node's condition.
//! The exit code says the rest: 0 is no problem, 1 is a problem, anything else is unknown.

use std::io::{self, Write};

use super::{Hello, Loss, Names, Report, ScenarioResult, Summary, lost};
use crate::{
    text::counted,
    verdict::{Outcome, Rule, Severity, Verdict},
};

/// node-problem-detector cuts a message after so many bytes, unless it is configured otherwise
/// (`max_output_length`).
const MAX_LENGTH: usize = 80;

pub(super) struct NpdReport<W> {
    out: W,
    /// The lowest severity of a problem.
    fail_on: Severity,
    problems: u64,
    doubts: u64,
    /// The first problem of the worst severity.
    worst: Option<(Severity, String)>,
    /// The first doubt.
    doubt: Option<String>,
    pods: Option<u64>,
}

impl<W: Write> NpdReport<W> {
    pub(super) fn new(out: W, fail_on: Severity) -> Self {
        Self {
            out,
            fail_on,
            problems: 0,
            doubts: 0,
            worst: None,
            doubt: None,
            pods: None,
        }
    }

    fn problem(&mut self, severity: Severity, what: impl FnOnce() -> String) {
        self.problems += 1;
        let is_worse = |(worst, _): &(Severity, String)| severity > *worst;
        if self.worst.as_ref().is_none_or(is_worse) {
            self.worst = Some((severity, what()));
        }
    }

    fn line(&self) -> String {
        if let Some((_, worst)) = &self.worst {
            format!("{}: {worst}", counted(self.problems, "finding"))
        } else if let Some(doubt) = &self.doubt {
            format!("{} inconclusive: {doubt}", self.doubts)
        } else {
            match self.pods {
                Some(pods) => format!("no finding, {}", counted(pods, "pod")),
                None => "no finding".to_owned(),
            }
        }
    }
}

/// The beginning of a text that has at most so many bytes.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LENGTH)]
}

impl<W: Write + Send> Report for NpdReport<W> {
    fn hello(&mut self, _: &Hello) -> io::Result<()> {
        Ok(())
    }

    fn verdict(&mut self, verdict: &Verdict, names: &Names) -> io::Result<()> {
        let Rule { id, name, .. } = verdict.rule;
        let what = || format!("{id} {name} {}", names.place(&verdict.subject));
        let severity = verdict.severity();
        match verdict.outcome {
            Outcome::Fail if severity >= self.fail_on && verdict.excepted().is_none() => {
                self.problem(severity, what);
            }
            Outcome::Inconclusive => {
                self.doubts += 1;
                self.doubt.get_or_insert_with(what);
            }
            Outcome::Fail | Outcome::Pass => {}
        }
        Ok(())
    }

    fn scenario(&mut self, scenario: &ScenarioResult) -> io::Result<()> {
        let what = || format!("scenario {}", scenario.name);
        match scenario.outcome {
            Outcome::Fail => self.problem(Severity::Error, what),
            Outcome::Inconclusive => {
                self.doubts += 1;
                self.doubt.get_or_insert_with(what);
            }
            Outcome::Pass => {}
        }
        Ok(())
    }

    fn loss(&mut self, loss: &Loss) -> io::Result<()> {
        self.doubts += 1;
        self.doubt.get_or_insert_with(|| lost(loss));
        Ok(())
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.pods = summary.pods;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        writeln!(self.out, "{}", cut(&self.line()))?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    fn written(fail_on: Severity, verdicts: &[Verdict]) -> String {
        let mut out = Vec::new();
        let mut report = NpdReport::new(&mut out, fail_on);
        for verdict in verdicts {
            let names = testing::names();
            report.verdict(verdict, &names).expect("writing to memory");
        }
        let summary = testing::summary();
        report.summary(&summary).expect("writing to memory");
        report.finish().expect("writing to memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_worst_finding_is_the_message() {
        let warning = Verdict {
            details: testing::failed().details.milder(Severity::Warning),
            ..testing::hostile()
        };
        let verdicts = [warning.clone(), testing::failed(), testing::inconclusive()];
        assert_eq!(
            written(Severity::Warning, &verdicts),
            "2 findings: PT101 net-shared default/web/app\n"
        );
        assert_eq!(
            written(Severity::Error, &[warning, testing::inconclusive()]),
            "1 inconclusive: PT101 net-shared default/web/app\n"
        );
    }

    #[test]
    fn a_healthy_node_has_no_finding() {
        let verdicts = [testing::passed(), testing::excepted()];
        assert_eq!(written(Severity::Info, &verdicts), "no finding, 3 pods\n");
    }

    #[test]
    fn a_line_has_at_most_eighty_bytes() {
        let long = format!("{}é", "x".repeat(MAX_LENGTH - 1));
        assert_eq!(cut(&long).len(), MAX_LENGTH - 1);
        assert_eq!(cut("short"), "short");
    }
}
