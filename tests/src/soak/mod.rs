//! The soak: one `pause-trace watch` beside real runtimes, whose pods come and go for a long time.
//! Some of them get a fault, and some things make the work of the watch harder.
//!
//! [`plan`] and [`oracle`] are pure: what happens comes from a seed, and whether the watch was
//! right from its lines. `play` makes the pods, `monitor` runs the watch.

mod files;
mod monitor;
pub mod oracle;
pub mod plan;
pub mod plants;
mod play;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use nix::sys::utsname::uname;
use serde_json::{Value, json};

use crate::lab::traces;
use files::Files;
use monitor::Monitor;
use oracle::{Fault, Figures, Oracle, Sample};
use play::{Play, Runtimes};

/// How long the kernel may take to free the programs of a watch that has ended.
const FREEING: Duration = Duration::from_secs(60);

/// How often the progress is shown: on a terminal, and elsewhere.
const PROGRESS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long pods are made.
    pub time: Duration,
    /// What the plan comes from.
    pub seed: u64,
    /// The directory for what the watch writes. It is removed after a run without a fault.
    pub directory: PathBuf,
    /// A file for the figures.
    pub json: Option<PathBuf>,
}

/// Runs a soak, and prints its figures. `interrupted` returns when the run is to end early.
///
/// # Panics
/// When a runtime does not do what it should.
pub fn run(options: &Options, interrupted: impl FnOnce() + Send + 'static) -> ExitCode {
    let files = Files::make(&options.directory);
    let runtimes = Runtimes::start();
    let node = runtimes.containerd.node().name().to_owned();
    let (monitor, mut faults) = thread::scope(|scope| {
        let monitor = Monitor::start(scope, runtimes.containerd.node(), &files);
        // Not of the scope, because it waits for ever if nothing interrupts.
        thread::spawn(move || {
            interrupted();
            monitor.interrupt();
        });
        let play = Play {
            runtimes: &runtimes,
            monitor,
            files: &files,
            seed: options.seed,
            until: monitor.now() + options.time,
        };
        scope.spawn(move || show_progress(monitor, options.time));
        play.run();
        monitor.await_all();
        let programs = monitor.programs();
        let left = match monitor.is_interrupted() {
            true => Vec::new(),
            false => runtimes.leftovers(),
        };
        let ending = monitor.end();
        let mut faults: Vec<_> = left
            .into_iter()
            .map(|left| Fault::Other(format!("left of removed pods: {left}")))
            .collect();
        let code = ending.status.and_then(|status| status.code());
        if code != Some(ending.expected) || !ending.has_summary {
            let (status, expected) = (ending.status, ending.expected);
            faults.push(Fault::Other(format!(
                "the watch ended with {status:?} instead of the exit code {expected}, or without a summary"
            )));
        }
        faults.extend(not_freed(&programs));
        (monitor, faults)
    });
    drop(runtimes);
    let left = traces(&node);
    if !left.is_empty() {
        faults.push(Fault::Other(format!("left on the machine: {left:?}")));
    }
    for fault in &faults {
        eprintln!("error: {fault}");
    }
    let now = monitor.now();
    let is_interrupted = monitor.is_interrupted();
    let lines = monitor.lines();
    monitor.oracle(|oracle| {
        for fault in oracle.end(now, is_interrupted) {
            eprintln!("error: {fault}");
        }
        faults.into_iter().for_each(|fault| oracle.fault(fault));
        let report = Report {
            options,
            oracle,
            time: now,
            lines,
            is_interrupted,
        };
        report.finish(&files)
    })
}

/// The eBPF programs of the watch that are still loaded although it has ended.
fn not_freed(programs: &BTreeSet<u32>) -> Option<Fault> {
    let until = Instant::now() + FREEING;
    loop {
        let loaded = aya::programs::loaded_programs().flatten();
        let left = loaded.filter(|program| programs.contains(&program.id()));
        let count = left.count();
        if count == 0 {
            return None;
        }
        if Instant::now() > until {
            let text = format!("{count} eBPF programs of the watch are still loaded");
            return Some(Fault::Other(text));
        }
        thread::yield_now();
    }
}

/// Shows a line about the run until the watch ends.
fn show_progress(monitor: &Monitor, time: Duration) {
    let is_terminal = io::stderr().is_terminal();
    let every = PROGRESS[usize::from(!is_terminal)];
    while !monitor.has_ended_after(every) {
        let figures = monitor.oracle(|oracle| oracle.figures());
        let seconds = monitor.now().as_secs();
        let faults = monitor.oracle(|oracle| oracle.faults().len());
        let line = format!(
            "soak: {seconds} s of {} s, {} pods, {} of {} plants found, {} inconclusive, {faults} faults",
            time.as_secs(),
            figures.pods,
            figures.found,
            figures.planted,
            figures.open,
        );
        if is_terminal {
            eprint!("\r{line}\x1b[K");
        } else {
            eprintln!("{line}");
        }
    }
    if is_terminal {
        eprintln!();
    }
}

/// The result of a run.
struct Report<'run> {
    options: &'run Options,
    oracle: &'run Oracle,
    time: Duration,
    lines: u64,
    is_interrupted: bool,
}

impl Report<'_> {
    /// Prints the figures, writes them to the file that the user wants, and removes what only a
    /// failure needs.
    fn finish(&self, files: &Files) -> ExitCode {
        let json = self.json();
        if let Some(path) = &self.options.json {
            write(path, &json);
        }
        println!("{}", self.text());
        if self.oracle.faults().is_empty() {
            files.remove();
            return match self.is_interrupted {
                true => ExitCode::from(130),
                false => ExitCode::SUCCESS,
            };
        }
        write(&files.path("figures.json"), &json);
        let directory = self.options.directory.display();
        eprintln!(
            "error: {} faults; seed {}; the recording, the lines and the journal are in {directory}",
            self.oracle.faults().len(),
            self.options.seed
        );
        ExitCode::FAILURE
    }

    fn text(&self) -> String {
        let Figures {
            pods,
            planted,
            found,
            open,
            missed,
            calm,
            calm_open,
            false_alarms,
            healthy_open,
            only_named,
            lost,
        } = self.oracle.figures();
        let minutes = self.time.as_secs_f64() / 60.0;
        let [rss, pss, descriptors] = self.quarters().map(|(what, quarters)| match quarters {
            Some([first, last]) => format!("{what} {first} → {last}"),
            None => format!("{what}: too few samples"),
        });
        format!(
            "soak: seed {}, {minutes:.1} minutes{}: {pods} pods ({:.1} a minute), {} lines\n  \
             plants: {planted}, {found} found, {open} inconclusive, {missed} missed; undisturbed: {calm_open} of {calm} inconclusive\n  \
             false alarms: {false_alarms}; healthy and undisturbed pods with an inconclusive rule: {healthy_open}; only named: {only_named}; events lost: {lost}\n  \
             first quarter → last quarter: {rss}, {pss}, {descriptors}",
            self.options.seed,
            if self.is_interrupted {
                " (interrupted)"
            } else {
                ""
            },
            pods as f64 / minutes,
            self.lines,
        )
    }

    fn quarters(&self) -> [(&'static str, Option<[u64; 2]>); 3] {
        let samples = self.oracle.samples();
        let of = |measure: fn(&Sample) -> u64| oracle::quarters(samples, measure);
        [
            ("rss_kib", of(|sample| sample.rss)),
            ("pss_kib", of(|sample| sample.pss)),
            ("descriptors", of(|sample| sample.descriptors)),
        ]
    }

    fn json(&self) -> Value {
        let figures = self.oracle.figures();
        let kernel = uname().map(|name| name.release().to_string_lossy().into_owned());
        let faults: Vec<_> = self
            .oracle
            .faults()
            .iter()
            .map(ToString::to_string)
            .collect();
        let by_plant = self.oracle.by_plant().iter();
        let by_plant = by_plant.map(|(name, [found, open, missed])| {
            let counts = json!({"found": found, "inconclusive": open, "missed": missed});
            ((*name).to_owned(), counts)
        });
        let quarters = self
            .quarters()
            .map(|(what, quarters)| (what.to_owned(), json!(quarters)));
        let samples = self.oracle.samples().iter();
        let samples = samples.map(|sample| json!([sample.rss, sample.pss, sample.descriptors]));
        json!({
            "seed": self.options.seed,
            "kernel": kernel.unwrap_or_default(),
            "seconds": self.time.as_secs(),
            "interrupted": self.is_interrupted,
            "pods": figures.pods,
            "lines": self.lines,
            "planted": figures.planted,
            "found": figures.found,
            "inconclusive": figures.open,
            "missed": figures.missed,
            "undisturbed": {"planted": figures.calm, "inconclusive": figures.calm_open},
            "false_alarms": figures.false_alarms,
            "healthy_inconclusive": figures.healthy_open,
            "only_named": figures.only_named,
            "lost": self.oracle.lost(),
            "plants": by_plant.collect::<serde_json::Map<_, _>>(),
            "quarters": quarters.into_iter().collect::<serde_json::Map<_, _>>(),
            "samples": samples.collect::<Vec<_>>(),
            "faults": faults,
        })
    }
}

fn write(path: &Path, json: &Value) {
    if let Err(error) = fs::write(path, format!("{json:#}\n")) {
        eprintln!("error: failed to write {}: {error}", path.display());
    }
}
