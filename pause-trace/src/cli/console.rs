//! Everything a run says, and what its exit code will be: the report, the status line, and text on stderr beside a report
//! that goes to a file.

use std::io::{self, Write as _};

use anyhow::Result;

use super::{End, Exit, Global, Usage, exit::Tally, output::Output, progress::Progress};
use crate::{
    news::News,
    report::{
        self, Clock, Hello, Loss, Names, Report, ScenarioResult, Settings, Summary, TextReport,
    },
    sink::{Failed, Target},
    terminal,
    verdict::{Outcome, Severity, Verdict},
};

pub(crate) struct Console {
    report: Box<dyn Report>,
    target: Target,
    /// What failed and the summary, for whoever started a run that reports to a file.
    echo: Option<TextReport<io::Stderr>>,
    progress: Progress,
    /// Something was told that may not have gone out yet.
    pending: bool,
    tally: Tally,
    fail_on: Severity,
}

impl Console {
    /// `passes`: whether text shows verdicts that passed even if not asked to be verbose.
    pub(crate) fn open(
        output: &Output,
        global: &Global,
        clock: Clock,
        passes: bool,
    ) -> Result<Self> {
        let target = Target::new(output.output.as_deref());
        let out = target
            .open()
            .map_err(|error| Usage(format!("failed to create {target}: {error}")))?;
        let look = match target {
            Target::Stdout => global.look(),
            Target::File(_) => terminal::look_of_file(global.color),
        };
        let passes = passes || global.verbose;
        let stderr = terminal::look(&io::stderr(), global.color);
        let is_file = target != Target::Stdout;
        Ok(Self {
            report: report::new(
                output.format.chosen,
                out,
                Settings {
                    clock,
                    look,
                    passes,
                },
            ),
            target,
            echo: is_file.then(|| TextReport::new(io::stderr(), stderr, false)),
            progress: Progress::new(stderr),
            pending: false,
            tally: Tally::default(),
            fail_on: output.fail_on,
        })
    }

    /// Tells the report, and makes room for it on the terminal first.
    fn tell(&mut self, tell: impl FnOnce(&mut dyn Report) -> io::Result<()>) -> Result<(), Failed> {
        self.progress.erase();
        self.pending = true;
        tell(&mut *self.report).map_err(|error| self.target.failed(error))
    }

    /// Tells whoever looks at stderr. That it can't be written is nobody's problem.
    fn echo(&mut self, tell: impl FnOnce(&mut dyn Report) -> io::Result<()>) {
        if let Some(echo) = &mut self.echo {
            let _ = tell(echo);
        }
    }

    pub(crate) fn hello(&mut self, hello: &Hello) -> Result<(), Failed> {
        self.tell(|report| report.hello(hello))
    }

    pub(crate) fn verdict(&mut self, verdict: &Verdict, names: &Names) -> Result<(), Failed> {
        self.tally.verdict(verdict);
        self.tell(|report| report.verdict(verdict, names))?;
        self.echo(|echo| echo.verdict(verdict, names));
        Ok(())
    }

    pub(crate) fn scenario(&mut self, scenario: &ScenarioResult) -> Result<(), Failed> {
        self.tally.scenario(scenario);
        self.tell(|report| report.scenario(scenario))?;
        if scenario.outcome != Outcome::Pass {
            self.echo(|echo| echo.scenario(scenario));
        }
        Ok(())
    }

    pub(crate) fn news(&mut self, news: &News, names: &Names) -> Result<(), Failed> {
        self.tell(|report| report.news(news, names))
    }

    /// A sentence for people, on stderr.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), Failed> {
        self.flush()?;
        self.progress.erase();
        // That nobody can read it is no fault.
        let _ = writeln!(io::stderr(), "pause-trace: {text}");
        Ok(())
    }

    pub(crate) fn loss(&mut self, loss: &Loss) -> Result<(), Failed> {
        self.tell(|report| report.loss(loss))?;
        self.echo(|echo| echo.loss(loss));
        Ok(())
    }

    /// A batch of events has been judged: what was decided goes out.
    pub(crate) fn flush(&mut self) -> Result<(), Failed> {
        // The status line may have been drawn again since: what goes out now must not end up behind it.
        if std::mem::take(&mut self.pending) {
            self.progress.erase();
        }
        self.report
            .flush()
            .map_err(|error| self.target.failed(error))
    }

    /// The status line: what is played or waited for now.
    pub(crate) fn step(&mut self, count: Option<(usize, usize)>, name: &str) {
        self.progress.step(count, name);
    }

    /// Keeps the status line moving; to be one of the branches of a `select!`.
    pub(crate) async fn tick(&mut self) {
        self.progress.tick().await;
    }

    /// Ends the report, and says how the program ends. `summary` is `None` where the run was cut short by an error.
    pub(crate) fn finish(mut self, summary: Option<&Summary>, end: End) -> Result<Exit, Failed> {
        self.progress.done();
        let told = self.tell(|report| {
            summary.map_or(Ok(()), |summary| report.summary(summary))?;
            report.finish()
        });
        if let Some(summary) = summary {
            self.echo(|echo| echo.summary(summary));
        }
        let end = match told {
            Ok(()) => end,
            // Ctrl-C ends a whole pipeline: that the reader went first does not matter then.
            Err(Failed::Closed(_)) if end == End::Interrupted => end,
            Err(failed) => End::from_failed(failed)?,
        };
        Ok(self.tally.decide(self.fail_on, end))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        cli::output,
        report::{Format, testing},
    };

    fn open(format: Format, path: &str) -> Result<Console> {
        let output = Output {
            format: output::Format { chosen: format },
            output: Some(path.into()),
            fail_on: Severity::Error,
        };
        Console::open(&output, &Global::default(), testing::CLOCK, false)
    }

    #[test]
    fn a_path_that_cannot_be_written_is_known_at_once() {
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
        for format in [Format::Text, Format::Json, Format::Junit, Format::Sarif] {
            let mut console = open(format, "/dev/full").expect("it can be opened");
            console.echo = None;
            let told = console
                .hello(&testing::hello())
                .and_then(|()| console.flush());
            let failed = told
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
    fn the_exit_code_is_of_what_was_reported() {
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
