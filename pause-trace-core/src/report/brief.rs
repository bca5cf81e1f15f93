//! The brief report: a line for each finding, as compilers write it, and nothing else.
//!
//! `default/web/app: error: PT101 net-shared: pid 4711 (nginx): the process runs in the host's
//! network namespace`

use std::io::{self, Write};

use super::{Hello, Loss, Names, Report, ScenarioResult, Summary, lost};
use crate::verdict::{Outcome, ProcessRef, Rule, Verdict};

pub(super) struct BriefReport<W> {
    out: W,
}

impl<W: Write> BriefReport<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write + Send> Report for BriefReport<W> {
    fn hello(&mut self, _: &Hello) -> io::Result<()> {
        Ok(())
    }

    /// A finding that is accepted or known has no line.
    fn verdict(&mut self, verdict: &Verdict, names: &Names) -> io::Result<()> {
        let how = match verdict.outcome {
            Outcome::Fail if verdict.excepted().is_none() => verdict.severity().to_string(),
            Outcome::Inconclusive => "inconclusive".to_owned(),
            Outcome::Fail | Outcome::Pass => return Ok(()),
        };
        let Rule { id, name, .. } = verdict.rule;
        let place = names.place(&verdict.subject);
        let message = &verdict.details.message;
        write!(self.out, "{place}: {how}: {id} {name}: ")?;
        if let Some(ProcessRef { id, comm, .. }) = verdict.subject.process {
            write!(self.out, "pid {} ({comm}): ", id.pid)?;
        }
        writeln!(self.out, "{message}")
    }

    fn scenario(&mut self, scenario: &ScenarioResult) -> io::Result<()> {
        let how = match scenario.outcome {
            Outcome::Fail => "error",
            Outcome::Inconclusive => "inconclusive",
            Outcome::Pass => return Ok(()),
        };
        let (name, reason) = (scenario.name, &scenario.reason);
        writeln!(self.out, "scenario {name}: {how}: {reason}")
    }

    fn loss(&mut self, loss: &Loss) -> io::Result<()> {
        writeln!(self.out, "node: inconclusive: {}", lost(loss))
    }

    fn summary(&mut self, _: &Summary) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing;

    fn written(send: impl FnOnce(&mut dyn Report) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        send(&mut BriefReport::new(&mut out)).expect("writing to memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_finding_is_one_line() {
        let text = written(|report| testing::send_all(report));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "default/web/app: error: PT101 net-shared: pid 4711 (nginx): \
             the process runs in the host's network namespace"
        );
        assert!(lines[1].contains(r"\u{1b}]0;x"), "{text}");
        assert_eq!(
            lines[2..],
            [
                "scenario net-shared: error: localhost: ECONNREFUSED",
                "node: inconclusive: 2 exec events were lost",
                "default/web/app: inconclusive: PT101 net-shared: 2 Exec events were lost",
            ]
        );
    }

    #[test]
    fn an_accepted_finding_and_a_pass_have_no_line() {
        let names = testing::names();
        let text = written(|report| {
            report.verdict(&testing::excepted(), &names)?;
            report.verdict(&testing::passed(), &names)
        });
        assert_eq!(text, "");
    }
}
