//! A status line on the terminal that shows what the program waits for.

use std::{
    future,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use tokio::time::{Interval, MissedTickBehavior};

use crate::text::{DIM, Line, TextStyle};

/// A wait that is shorter than this is not shown.
const PATIENCE: Duration = Duration::from_secs(1);
const REDRAW: Duration = Duration::from_millis(100);

/// A status line on stderr. It is shown only if stderr is a terminal.
pub(crate) struct Progress {
    text_style: TextStyle,
    /// Where to draw; `None` if stderr is not a terminal.
    terminal: Option<io::Stderr>,
    started: Instant,
    step: Option<Step>,
    drawn: bool,
    interval: Option<Interval>,
}

struct Step {
    /// The number of the step and the number of all steps, if known.
    count: Option<(usize, usize)>,
    name: String,
    started: Instant,
}

impl Progress {
    /// A line on stderr if that is a terminal, and unless it is not wanted.
    pub(crate) fn new(text_style: TextStyle, is_wanted: bool) -> Self {
        let terminal = (is_wanted && io::stderr().is_terminal()).then(io::stderr);
        Self {
            text_style,
            terminal,
            started: Instant::now(),
            step: None,
            drawn: false,
            interval: None,
        }
    }

    /// Begins a step: number `count.0` (from 1) of `count.1`.
    pub(crate) fn step(&mut self, count: Option<(usize, usize)>, name: &str) {
        self.step = Some(Step {
            count,
            name: name.to_owned(),
            started: Instant::now(),
        });
        self.draw();
    }

    /// Ends the last step and erases the line.
    pub(crate) fn done(&mut self) {
        self.step = None;
        self.interval = None;
        self.erase();
    }

    /// Waits for the next redraw and draws; never resolves if nothing is shown. It is cancel-safe,
    /// so `select!` can use it.
    pub(crate) async fn tick(&mut self) {
        if self.terminal.is_none() || self.step.is_none() {
            return future::pending().await;
        }
        let interval = self.interval.get_or_insert_with(|| {
            let mut interval = tokio::time::interval(REDRAW);
            interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
            interval
        });
        interval.tick().await;
        self.draw();
    }

    /// Erases the line to make room for other output.
    pub(crate) fn erase(&mut self) {
        if let Some(terminal) = &mut self.terminal
            && std::mem::take(&mut self.drawn)
        {
            let _ = terminal.write_all(b"\r\x1b[2K");
        }
    }

    fn draw(&mut self) {
        let now = Instant::now();
        let Some(line) = self.line(now) else { return };
        if let Some(terminal) = &mut self.terminal {
            let _ = write!(terminal, "\r\x1b[2K{}", line.trim_end());
            self.drawn = true;
        }
    }

    /// `7/31 zombie-reaped · 2.3 s`; `None` before [`PATIENCE`] has passed.
    fn line(&self, now: Instant) -> Option<String> {
        let step = self.step.as_ref()?;
        if now.duration_since(self.started) < PATIENCE {
            return None;
        }
        let count = step
            .count
            .map(|(index, total)| format!("{index}/{total} "))
            .unwrap_or_default();
        let took = format!(" · {:.1} s", now.duration_since(step.started).as_secs_f64());
        // One column is left free: a full line would move the cursor to the next one.
        let room = self
            .text_style
            .width
            .unwrap_or(80)
            .saturating_sub(count.len() + took.chars().count() + 1);
        let name: String = step.name.chars().take(room).collect();
        let mut line = Line::new(self.text_style);
        line.paint(DIM, &count).push(&name).paint(DIM, &took);
        Some(line.end())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.erase();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_waits_are_not_shown() {
        let mut progress = Progress::new(
            TextStyle {
                width: Some(30),
                ..TextStyle::PLAIN
            },
            true,
        );
        progress.terminal = None;
        progress.step(Some((7, 31)), "zombie-reaped");
        let start = progress.started;
        assert_eq!(progress.line(start + Duration::from_millis(900)), None);
        let line = progress
            .line(start + Duration::from_millis(2300))
            .expect("it lasts");
        assert_eq!(line, "7/31 zombie-reaped · 2.3 s\n");
        progress.step(None, "a name that is much too long for the line");
        let line = progress
            .line(start + Duration::from_secs(20))
            .expect("it lasts");
        assert!(line.chars().count() <= 30, "{line}");
        progress.done();
        assert_eq!(progress.line(start + Duration::from_secs(20)), None);
    }
}
