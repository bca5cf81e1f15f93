//! What pause-trace itself takes where no pod is needed: its start, and a replay.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use super::{Bench, Line, Samples, Table};
use crate::{pause_trace, run, scratch};

impl Bench<'_> {
    /// The benchmarks of the program alone.
    pub(super) fn own(&mut self) {
        if self.is_wanted("start") {
            self.start();
        }
        if self.is_wanted("replay") {
            self.replay();
        }
    }

    /// From the start of the process to its first line: it has attached and tested itself.
    fn start(&mut self) {
        let samples = (0..self.options.rounds).filter_map(|_| first_line());
        let table = Table {
            benchmark: "start",
            title: "from the start to the first line".into(),
            unit: "ms",
            compares: false,
            lines: vec![Line {
                name: "pause-trace watch --format json".into(),
                figure: Ok(samples.collect()),
            }],
        };
        self.add(table);
    }

    /// A recording of a reference check, judged again.
    fn replay(&mut self) {
        let directory = scratch("bench");
        let [small, large] = ["small", "large"].map(|name| directory.join(format!("{name}.ptrec")));
        // The storm has ten thousand orphans. Its scenario takes two seconds.
        let storm = if self.options.quick {
            "pod-target"
        } else {
            "zombie-storm"
        };
        let events = [("pod-target", &small), (storm, &large)].map(|(scenario, file)| {
            // An earlier run may have left it, and `check` replaces no file.
            let _ = fs::remove_file(file);
            let file = file.to_string_lossy();
            let check = run([
                "check",
                "--scenario",
                scenario,
                "--format",
                "json",
                "--record",
                &file,
            ]);
            let events = check.summary()["events"].clone();
            let counts = events.as_object().into_iter().flatten();
            counts.filter_map(|(_, count)| count.as_f64()).sum::<f64>()
        });
        let (mut times, mut rates) = (Samples::default(), Samples::default());
        for _ in 0..self.options.rounds {
            let [short, long] = [&small, &large].map(|file| replayed(file));
            times.push(long * 1e3);
            if events[1] > events[0] && long > short {
                rates.push((events[1] - events[0]) / (long - short) / 1e6);
            }
        }
        let mut lines = vec![Line {
            name: "the whole process, ms".into(),
            figure: Ok(times),
        }];
        if !self.options.quick {
            lines.push(Line {
                name: "million events a second without its start".into(),
                figure: Ok(rates),
            });
        }
        let table = Table {
            benchmark: "replay",
            title: format!("a recording of {storm}, {} events", events[1]),
            unit: "see each line",
            compares: false,
            lines,
        };
        self.add(table);
    }
}

/// Milliseconds to the first line of a watch.
fn first_line() -> Option<f64> {
    let started = Instant::now();
    let mut child = Command::new(pause_trace())
        .args(["watch", "--format", "json", "--history", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut line = String::new();
    let output = child.stdout.take()?;
    let read = BufReader::new(output).read_line(&mut line);
    let took = started.elapsed();
    let _ = child.kill();
    let _ = child.wait();
    (read.ok()? > 0).then_some(took.as_secs_f64() * 1e3)
}

/// Seconds of a replay.
fn replayed(file: &Path) -> f64 {
    let started = Instant::now();
    let replay = run(["replay", &file.to_string_lossy(), "--format", "json"]);
    assert!(!replay.stdout.is_empty(), "{replay:?}");
    started.elapsed().as_secs_f64()
}
