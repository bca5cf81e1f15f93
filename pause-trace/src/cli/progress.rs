//! One line on the terminal that says what is being waited for.

use std::{
    future,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use tokio::time::{Interval, MissedTickBehavior};

use crate::text::{DIM, Line, Look};

/// What takes less than this needs no status.
const PATIENCE: Duration = Duration::from_secs(1);
const REDRAW: Duration = Duration::from_millis(100);

/// A status line on stderr; nothing at all where stderr is no terminal.
pub(crate) struct Progress {
    look: Look,
    /// Where to draw; `None` where nobody would see it.
    terminal: Option<io::Stderr>,
    started: Instant,
    step: Option<Step>,
    drawn: bool,
    interval: Option<Interval>,
}

struct Step {
    /// What it is of how many, where that is known.
    count: Option<(usize, usize)>,
    name: String,
    started: Instant,
}

impl Progress {
    pub(crate) fn new(look: Look) -> Self {
        let terminal = io::stderr().is_terminal().then(io::stderr);
        Self {
            look,
            terminal,
            started: Instant::now(),
            step: None,
            drawn: false,
            interval: None,
        }
    }

    /// Something begins: number `count.0` (from 1) of `count.1`.
    pub(crate) fn step(&mut self, count: Option<(usize, usize)>, name: &str) {
        self.step = Some(Step {
            count,
            name: name.to_owned(),
            started: Instant::now(),
        });
        self.draw();
    }

    /// Nothing is being waited for any more.
    pub(crate) fn done(&mut self) {
        self.step = None;
        self.interval = None;
        self.erase();
    }

    /// When the status is to be drawn again: never, where it is not shown. Can be dropped at any time, for `select!`.
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

    /// Makes room for other output.
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

    /// `7/31 zombie-reaped · 2.3 s`, once it has lasted.
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
            .look
            .width
            .unwrap_or(80)
            .saturating_sub(count.len() + took.chars().count() + 1);
        let name: String = step.name.chars().take(room).collect();
        let mut line = Line::new(self.look);
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
    fn only_what_lasts_is_shown() {
        let mut progress = Progress::new(Look {
            width: Some(30),
            ..Look::PLAIN
        });
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
