//! All output of a run, and the tally for its exit code: the report, the status line, and text on
//! stderr when the report goes to a file.

use std::io::{self, Write as _};

use anyhow::Result;

use super::{End, Exit, Global, Usage, config, exit::Tally, output::Output, progress::Progress};
use crate::{
    event::Ktime,
    news::News,
    policy::Policy,
    probe,
    report::{
        self, Clock, Format, Hello, Loss, Names, Report, ScenarioResult, Settings, Summary,
        TextReport,
    },
    sink::{
        Failed, Target,
        journal::{Current, Lines, Priority, is_journal},
    },
    terminal,
    verdict::{Outcome, Severity, Verdict},
};

pub(crate) struct Console {
    report: Box<dyn Report>,
    target: Target,
    /// Writes failures and the summary to stderr when the report goes to a file.
    echo: Option<TextReport<io::Stderr>>,
    progress: Progress,
    /// Something was written to the report and may not have been flushed yet.
    pending: bool,
    tally: Tally,
    violations: u64,
    fail_on: Severity,
    clock: Clock,
    policy: Policy,
    /// Findings that the policy accepts.
    excepted: u64,
    /// The priority of the next line in the journal.
    priority: Current,
    /// Passes and news are left out of a report that is read during the run.
    quiet: bool,
    format: Format,
}

impl Console {
    /// `passes`: whether text shows verdicts that passed even without `--verbose`.
    pub(crate) fn open(
        output: &Output,
        global: &Global,
        clock: Clock,
        passes: bool,
    ) -> Result<Self> {
        let mut policy = global.policy();
        if let Some(baseline) = output.baseline()? {
            policy = policy.with_baseline(baseline);
        }
        let target = Target::new(output.output.as_deref());
        let out = target
            .open({
                let format = output.format.chosen;
                move |lines| report::dropped(format, clock, probe::now(), lines)
            })
            .map_err(|error| Usage(format!("failed to create {target}: {error}")))?;
        let priority = Current::default();
        let is_lines = matches!(
            output.format.chosen,
            Format::Text | Format::Brief | Format::Json
        );
        let out = match target == Target::Stdout && is_lines && is_journal(&io::stdout()) {
            true => Box::new(Lines::new(out, priority.clone())),
            false => out,
        };
        let text_style = match target {
            Target::Stdout => global.text_style(),
            Target::File(_) => terminal::text_style_of_file(global.color),
        };
        let passes = passes || global.verbose;
        let stderr = terminal::text_style(&io::stderr(), global.color);
        let is_file = target != Target::Stdout;
        Ok(Self {
            report: report::new(
                output.format.chosen,
                out,
                Settings {
                    clock,
                    text_style,
                    passes,
                    fail_on: output.fail_on,
                },
            ),
            target,
            echo: is_file.then(|| TextReport::new(io::stderr(), stderr, false)),
            progress: Progress::new(stderr, !output.quiet),
            pending: false,
            tally: Tally::default(),
            violations: 0,
            fail_on: output.fail_on,
            clock,
            policy,
            excepted: 0,
            priority,
            quiet: output.quiet,
            format: output.format.chosen,
        })
    }

    /// Writes to the report, after erasing the status line.
    fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Report) -> io::Result<()>,
    ) -> Result<(), Failed> {
        self.progress.erase();
        self.pending = true;
        write(&mut *self.report).map_err(|error| self.target.failed(error))
    }

    /// Writes to stderr. A failure to do so is ignored.
    fn echo(&mut self, write: impl FnOnce(&mut dyn Report) -> io::Result<()>) {
        if let Some(echo) = &mut self.echo {
            let _ = write(echo);
        }
    }

    /// Whether passes and news are left out.
    fn is_brief(&self) -> bool {
        self.quiet && matches!(self.format, Format::Text | Format::Json)
    }

    /// Whether the start and the summary are left out, too. In JSON they say that there was a run.
    fn is_bare(&self) -> bool {
        self.quiet && self.format == Format::Text
    }

    pub(crate) fn hello(&mut self, hello: &Hello) -> Result<(), Failed> {
        if self.is_bare() {
            return Ok(());
        }
        self.write(|report| report.hello(hello))
    }

    pub(crate) fn verdict(&mut self, verdict: &Verdict, names: &Names) -> Result<(), Failed> {
        self.verdict_from(Severity::Info, verdict, names)
    }

    /// Reports a verdict of a rule that has at least this severity on this node.
    pub(crate) fn verdict_from(
        &mut self,
        least: Severity,
        verdict: &Verdict,
        names: &Names,
    ) -> Result<(), Failed> {
        let decided = self.policy.decide(verdict, names, self.clock);
        let verdict = decided.as_ref().unwrap_or(verdict);
        if verdict.severity() < least {
            return Ok(());
        }
        self.excepted += u64::from(verdict.excepted().is_some());
        self.tally.verdict(verdict);
        self.violations += u64::from(verdict.outcome == Outcome::Fail);
        if self.is_brief() && verdict.outcome == Outcome::Pass {
            return Ok(());
        }
        self.priority.set(Priority::of(verdict));
        let written = self.write(|report| report.verdict(verdict, names));
        self.priority.set(Priority::Info);
        written?;
        self.echo(|echo| echo.verdict(verdict, names));
        Ok(())
    }

    /// A verdict as the configuration decides about it, if that differs.
    pub(crate) fn decided(&self, verdict: &Verdict, names: &Names) -> Option<Verdict> {
        self.policy.decided(verdict, names, self.clock)
    }

    pub(crate) fn scenario(&mut self, scenario: &ScenarioResult) -> Result<(), Failed> {
        self.tally.scenario(scenario);
        if self.is_brief() && scenario.outcome == Outcome::Pass {
            return Ok(());
        }
        self.write(|report| report.scenario(scenario))?;
        if scenario.outcome != Outcome::Pass {
            self.echo(|echo| echo.scenario(scenario));
        }
        Ok(())
    }

    pub(crate) fn news(&mut self, news: &News, names: &Names) -> Result<(), Failed> {
        if self.is_brief() {
            return Ok(());
        }
        self.write(|report| report.news(news, names))
    }

    /// Replaces the policy. What was accepted so far stays counted.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        let former = std::mem::replace(&mut self.policy, policy);
        self.policy.continue_from(&former);
    }

    /// Says which exceptions have expired.
    pub(crate) fn note_expired(&mut self, now: Ktime) -> Result<(), Failed> {
        for note in config::notes(&self.policy, now, self.clock, false) {
            self.note(&note)?;
        }
        Ok(())
    }

    /// Writes a sentence to stderr.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), Failed> {
        self.flush()?;
        self.progress.erase();
        // A stderr that cannot be written is no error.
        let prefix = Priority::Warning.prefix(&io::stderr());
        let _ = writeln!(io::stderr(), "{prefix}pause-trace: {text}");
        Ok(())
    }

    /// The number of violations that were reported.
    pub(crate) fn violations(&self) -> u64 {
        self.violations
    }

    pub(crate) fn loss(&mut self, loss: &Loss) -> Result<(), Failed> {
        self.priority.set(Priority::Warning);
        let written = self.write(|report| report.loss(loss));
        self.priority.set(Priority::Info);
        written?;
        self.echo(|echo| echo.loss(loss));
        Ok(())
    }

    /// Flushes the report after a batch of events has been judged.
    pub(crate) fn flush(&mut self) -> Result<(), Failed> {
        // The status line may have been drawn again since. The output must not end up behind it.
        if std::mem::take(&mut self.pending) {
            self.progress.erase();
        }
        self.report
            .flush()
            .map_err(|error| self.target.failed(error))
    }

    /// Shows on the status line what is running or awaited now.
    pub(crate) fn step(&mut self, count: Option<(usize, usize)>, name: &str) {
        self.progress.step(count, name);
    }

    /// Redraws the status line periodically; meant as a branch of a `select!`.
    pub(crate) async fn tick(&mut self) {
        self.progress.tick().await;
    }

    /// Ends the report and returns the exit code. `summary` is `None` if the run was interrupted
    /// before it began.
    pub(crate) fn finish(mut self, summary: Option<&Summary>, end: End) -> Result<Exit, Failed> {
        self.progress.done();
        let summary = summary.map(|summary| Summary {
            excepted: self.excepted,
            ..summary.clone()
        });
        let summary = summary.as_ref();
        let shown = summary.filter(|_| !self.is_bare());
        let result = self.write(|report| {
            shown.map_or(Ok(()), |summary| report.summary(summary))?;
            report.finish()
        });
        if let Some(summary) = summary.filter(|_| !self.quiet) {
            self.echo(|echo| echo.summary(summary));
        }
        if let Some(summary) = summary {
            for note in config::notes(&self.policy, summary.time, self.clock, true) {
                self.note(&note)?;
            }
        }
        let end = match result {
            Ok(()) => end,
            // Ctrl-C ends every process of a shell pipeline, so the reader may be gone first.
            Err(Failed::Closed(_)) if end == End::Interrupted => end,
            Err(failed) => End::from_failed(failed)?,
        };
        Ok(self.tally.decide(self.fail_on, end))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::ValueEnum as _;

    use super::*;
    use crate::{cli::output, report::testing};

    fn open(format: Format, path: &str) -> Result<Console> {
        let output = Output {
            format: output::Format { chosen: format },
            output: Some(path.into()),
            ..Output::text(Severity::Error)
        };
        Console::open(&output, &Global::default(), testing::CLOCK, false)
    }

    #[test]
    fn a_path_that_cannot_be_created_is_a_usage_error() {
        let error = open(Format::Junit, "/proc/nowhere/report.xml")
            .err()
            .expect("no such directory");
        assert_eq!(Exit::of(&error), Exit::Usage);
        assert!(
            error
                .to_string()
                .starts_with("failed to create /proc/nowhere/report.xml: "),
            "{error}"
        );
    }

    #[test]
    fn a_full_disk_is_told_in_every_format() {
        for format in Format::value_variants() {
            let mut console = open(*format, "/dev/full").expect("it can be opened");
            console.echo = None;
            let result = console
                .verdict(&testing::failed(), &testing::names())
                .and_then(|()| console.flush());
            let failed = result
                .and_then(|()| console.finish(None, End::Finished).map(|_| ()))
                .expect_err("it is full");
            let error = anyhow::Error::from(failed);
            assert_eq!(
                format!("{error:#}"),
                "failed to write /dev/full: No space left on device (os error 28)"
            );
            assert_eq!(Exit::of(&error), Exit::CannotRun);
        }
    }

    #[test]
    fn the_exit_code_follows_from_the_reported_verdicts() {
        let path = std::env::temp_dir().join(format!("pause-trace-console-{}", std::process::id()));
        let mut console = open(Format::Json, &path.to_string_lossy()).expect("a file");
        console.echo = None;
        console
            .verdict(&testing::passed(), &testing::names())
            .expect("there is room");
        console
            .verdict(&testing::failed(), &testing::names())
            .expect("there is room");
        let exit = console
            .finish(Some(&testing::summary()), End::Finished)
            .expect("there is room");
        assert_eq!(exit, Exit::Violation);
        let lines = fs::read_to_string(&path)
            .expect("it was written")
            .lines()
            .count();
        assert_eq!(lines, 4, "a pass, a finding, its verdict and the summary");
        fs::remove_file(&path).expect("it is ours");
    }
}
