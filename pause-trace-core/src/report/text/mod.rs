//! The report for people: a line for each scenario or verdict, a block for each violation, and a
//! summary.

mod news;

pub(super) use news::words as happened;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use anstyle::Style;

use super::{Clock, Hello, Loss, Names, Report, ScenarioResult, Summary, total};
use crate::{
    news::News,
    rules::Counts,
    text::{BAD, BOLD, DIM, DOUBTFUL, GOOD, Line, TERM, TextStyle, counted, grouped, wrap},
    verdict::{Duration, Evidence, Outcome, Severity, Subject, Values, Verdict},
};

/// The columns of a scenario's line: name, duration, title, proof.
const COLUMNS: [usize; 4] = [2, 28, 38, 86];
/// The columns of a verdict's line: rule, name, subject, message.
const VERDICT_COLUMNS: [usize; 4] = [2, 9, 28, 60];

/// The text report, written during the run. Nothing is truncated: on a narrow terminal, a
/// scenario's proof gets a separate line, and sentences are broken between words.
pub struct TextReport<W> {
    out: W,
    text_style: TextStyle,
    /// Whether a verdict that passed gets a line.
    passes: bool,
    /// The clock for lines with a time.
    clock: Option<Clock>,
    /// Whether anything was written, and whether the last output was a block.
    written: bool,
    was_block: bool,
}

impl<W: Write> TextReport<W> {
    /// A report to `out`. With `passes` it also shows verdicts that passed.
    pub fn new(out: W, text_style: TextStyle, passes: bool) -> Self {
        Self {
            out,
            text_style,
            passes,
            clock: None,
            written: false,
            was_block: false,
        }
    }

    pub(crate) fn with_clock(self, clock: Clock) -> Self {
        Self {
            clock: Some(clock),
            ..self
        }
    }

    fn line(&self) -> Line {
        Line::new(self.text_style)
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        self.written = true;
        self.out.write_all(line.end().as_bytes())
    }

    /// Writes a blank line before and after each block.
    fn space(&mut self, is_block: bool) -> io::Result<()> {
        if self.written && (is_block || self.was_block) {
            self.out.write_all(b"\n")?;
        }
        self.was_block = is_block;
        Ok(())
    }

    fn sentence(&mut self, indent: usize, text: &str) -> io::Result<()> {
        for part in wrap(
            text,
            self.text_style
                .width
                .map(|width| width.saturating_sub(indent).max(20)),
        ) {
            let mut line = self.line();
            line.pad(indent).push(&part);
            self.write(&line)?;
        }
        Ok(())
    }

    fn values(&mut self, title: &str, values: &Values) -> io::Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        let mut line = self.line();
        line.pad(4).paint(DIM, title).pad(14);
        for (index, (name, value)) in values.iter().enumerate() {
            line.push(if index > 0 { ", " } else { "" })
                .push(name)
                .push(" ")
                .paint(BOLD, &value.to_string());
        }
        self.write(&line)
    }

    fn evidence(&mut self, verdict: &Verdict, evidence: &Evidence) -> io::Result<()> {
        let when = match (evidence.time, verdict.time) {
            (time, now) if time < now => format!("-{}", Duration(now - time)),
            (time, now) if time > now => format!("+{}", Duration(time - now)),
            _ => "0".to_owned(),
        };
        let mut line = self.line();
        line.pad(12usize.saturating_sub(when.chars().count()).max(4))
            .paint(DIM, &when)
            .pad(14)
            .push(&evidence.what);
        self.write(&line)
    }

    fn finding(&mut self, verdict: &Verdict, names: &Names) -> io::Result<()> {
        let Verdict { rule, details, .. } = verdict;
        self.space(true)?;
        let severity = verdict.severity();
        let style = match severity {
            _ if verdict.excepted().is_some() => DIM,
            Severity::Error => BAD,
            Severity::Warning => DOUBTFUL,
            Severity::Info => BOLD,
        };
        let mut line = self.line();
        if let Some(clock) = self.clock {
            let time = clock.time_of_day(verdict.time);
            line.paint(DIM, &time).push(" ");
        }
        line.paint(style, "✗")
            .push(" ")
            .paint(BOLD, rule.id)
            .push(" ")
            .paint(style, &severity.to_string());
        line.push(" ")
            .push(rule.name)
            .push("  ")
            .paint(TERM, &names.subject(&verdict.subject));
        self.write(&line)?;
        if let Some(excepted) = verdict.excepted() {
            self.sentence(2, &details.message)?;
            return self.sentence(2, &excepted.to_string());
        }
        self.sentence(2, &details.message)?;
        self.values("expected", &details.expected)?;
        self.values("observed", &details.observed)?;
        for evidence in &details.evidence {
            self.evidence(verdict, evidence)?;
        }
        Ok(())
    }
}

fn mark(outcome: Outcome) -> (Style, &'static str) {
    match outcome {
        Outcome::Pass => (GOOD, "✓"),
        Outcome::Fail => (BAD, "✗"),
        Outcome::Inconclusive => (DOUBTFUL, "?"),
    }
}

impl<W: Write + Send> Report for TextReport<W> {
    /// `pause-trace 0.1.0 · Linux 6.18.5 x86_64 · 11 hooks: 9 tp_btf, 2 tracepoint`
    fn hello(&mut self, hello: &Hello) -> io::Result<()> {
        let mut ways: Vec<(&str, usize)> = Vec::new();
        for hook in &hello.hooks {
            match ways.iter_mut().find(|(how, _)| *how == hook.how) {
                Some((_, count)) => *count += 1,
                None => ways.push((&hook.how, 1)),
            }
        }
        let ways: Vec<_> = ways
            .into_iter()
            .map(|(how, count)| format!("{count} {how}"))
            .collect();
        let mut line = self.line();
        line.paint(BOLD, "pause-trace")
            .push(" ")
            .push(&hello.version);
        line.push(&format!(" · Linux {} {}", hello.kernel, hello.arch));
        line.push(&format!(
            " · {} hooks: {}",
            hello.hooks.len(),
            ways.join(", ")
        ));
        self.write(&line)?;
        self.was_block = true;
        Ok(())
    }

    fn verdict(&mut self, verdict: &Verdict, names: &Names) -> io::Result<()> {
        match verdict.outcome {
            Outcome::Fail => return self.finding(verdict, names),
            Outcome::Pass if !self.passes => return Ok(()),
            Outcome::Pass | Outcome::Inconclusive => {}
        }
        self.space(false)?;
        let (style, mark) = mark(verdict.outcome);
        let [id, name, subject, message] = VERDICT_COLUMNS;
        let mut line = self.line();
        line.paint(style, mark)
            .pad(id)
            .push(verdict.rule.id)
            .pad(name)
            .push(verdict.rule.name);
        line.pad(subject)
            .paint(TERM, &names.subject(&verdict.subject))
            .pad(message)
            .push(&verdict.details.message);
        self.write(&line)
    }

    /// `20:00:00.123 + default/web/app  pid 6539 · the pause's net ipc uts · pid 4026532183`
    fn news(&mut self, news: &News, names: &Names) -> io::Result<()> {
        self.space(false)?;
        let (style, mark) = news::mark(&news.what);
        let subject = Subject {
            pod: Some(news.pod.clone()),
            container: news.container.clone(),
            ..Subject::default()
        };
        let [mark_at, subject_at, what_at] = news::COLUMNS;
        let mut line = self.line();
        if let Some(clock) = self.clock {
            line.paint(DIM, &clock.time_of_day(news.time));
        }
        line.pad(mark_at)
            .paint(style, mark)
            .pad(subject_at)
            .paint(TERM, &names.subject(&subject))
            .pad(what_at)
            .push(&news::words(&news.what));
        self.write(&line)
    }

    fn scenario(&mut self, scenario: &ScenarioResult) -> io::Result<()> {
        self.space(false)?;
        let found = if scenario.found.is_empty() {
            String::new()
        } else {
            format!("found {}", scenario.found.join(", "))
        };
        let proof: Vec<_> = [found.as_str(), &scenario.proof]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        let proof = proof.join(" · ");
        let (style, mark) = mark(scenario.outcome);
        let [name, duration, title, end] = COLUMNS;
        let took = Duration(scenario.duration).to_string();
        let mut line = self.line();
        line.paint(style, mark).pad(name).push(scenario.name);
        line.pad(duration + 8 - took.chars().count().min(8))
            .paint(DIM, &took)
            .pad(title)
            .push(scenario.title);
        if !proof.is_empty() {
            let whole = line.clone().pad(end).push(&proof).columns();
            if self.text_style.width.is_some_and(|width| whole > width) {
                self.write(&line)?;
                line = self.line();
                line.pad(title);
            } else {
                line.pad(end);
            }
            line.push(&proof);
        }
        self.write(&line)?;
        if scenario.reason.is_empty() {
            Ok(())
        } else {
            self.sentence(4, &scenario.reason)
        }
    }

    fn loss(&mut self, loss: &Loss) -> io::Result<()> {
        self.space(false)?;
        let mut line = self.line();
        line.paint(DOUBTFUL, "?")
            .pad(2)
            .paint(DOUBTFUL, "lost")
            .pad(9);
        let events = counted(loss.count, &format!("{} event", loss.kind.name()));
        line.push(&format!(
            "{events}: verdicts that depend on them are inconclusive"
        ));
        self.write(&line)
    }

    /// `31 scenarios: 31 passed · 412 verdicts · 0 failed · 0 inconclusive · 35,120 events, 0 lost
    /// · 11.8 s`
    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.space(true)?;
        let Summary {
            rules,
            verdicts,
            excepted,
            scenarios,
            pods,
            events,
            lost,
            duration,
            interrupted,
            ..
        } = summary;
        let some = |count: u64, style: Style| if count > 0 { style } else { Style::new() };
        let mut line = self.line();
        let played = scenarios.pass + scenarios.fail + scenarios.inconclusive;
        if played > 0 {
            line.push(&format!("{}: ", counted(played, "scenario")));
            line.paint(
                some(scenarios.pass, GOOD),
                &format!("{} passed", grouped(scenarios.pass)),
            );
            if scenarios.fail > 0 {
                line.push(", ")
                    .paint(BAD, &format!("{} failed", scenarios.fail));
            }
            if scenarios.inconclusive > 0 {
                line.push(", ").paint(
                    DOUBTFUL,
                    &format!("{} inconclusive", scenarios.inconclusive),
                );
            }
            line.push(" · ");
        }
        if let Some(pods) = pods {
            line.push(&format!("{} · ", counted(*pods, "pod")));
        }
        line.push(&counted(
            verdicts.pass + verdicts.fail + verdicts.inconclusive,
            "verdict",
        ));
        line.push(" · ").paint(
            some(verdicts.fail, BAD),
            &format!("{} failed", grouped(verdicts.fail)),
        );
        let doubtful = format!("{} inconclusive", grouped(verdicts.inconclusive));
        line.push(" · ")
            .paint(some(verdicts.inconclusive, DOUBTFUL), &doubtful);
        if *excepted > 0 {
            line.push(&format!(" · {} accepted", counted(*excepted, "finding")));
        }
        line.push(&format!(" · {}, ", counted(total(events), "event")));
        line.paint(
            some(total(lost), DOUBTFUL),
            &format!("{} lost", grouped(total(lost))),
        );
        line.push(&format!(" · {:.1} s", *duration as f64 / 1e9));
        if *interrupted {
            line.push(" · ").paint(DOUBTFUL, "interrupted");
        }
        self.write(&line)?;
        for (
            id,
            Counts {
                fail, inconclusive, ..
            },
        ) in rules
        {
            if *fail == 0 && *inconclusive == 0 {
                continue;
            }
            let counts = [(*fail, "failed"), (*inconclusive, "inconclusive")];
            let counts = counts
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{count} {what}"));
            let mut line = self.line();
            line.pad(2)
                .paint(BOLD, id)
                .pad(9)
                .push(&counts.collect::<Vec<_>>().join(", "));
            line.pad(36)
                .paint(DIM, &format!("pause-trace explain {id}"));
            self.write(&line)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
