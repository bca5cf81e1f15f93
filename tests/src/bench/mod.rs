//! The benchmark: what an operation costs beside each tracer, and what pause-trace itself takes.
//!
//! Tracers take turns: in each round each of them is attached, every load runs once beside it, and
//! it is detached. So a machine that becomes slower or faster changes all of them alike.

mod figures;
mod floor;
mod own;
mod pods;
mod tracers;

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode};

use serde_json::{Value, json};

pub use self::figures::{Line, Samples, Table};
use self::tracers::{Tracer, Uncounted};
use crate::{c_program, workload_binary};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only the benchmarks whose names contain this.
    pub name: Option<String>,
    /// How often each tracer has its turn.
    pub rounds: usize,
    /// Takes the figures, as JSON.
    pub json: Option<PathBuf>,
    /// Short samples of what needs nothing but pause-trace. It fails if a figure is missing.
    pub quick: bool,
}

/// The name on the command line, and what it is.
type Benchmark = (&'static str, &'static str);

/// The loads of `programs/load.c`, which run beside every tracer.
const LOADS: [Benchmark; 8] = [
    ("null-call", "getppid"),
    (
        "kill-self",
        "kill of the process itself, the signal is ignored",
    ),
    ("fork-exit", "fork, exit and wait"),
    ("exec", "vfork, exec of a small static program, and wait"),
    ("setns", "setns into the process's own uts namespace"),
    ("threads", "creation and end of a thread"),
    ("kill-across", "kill of a child, the signal is ignored"),
    (
        "orphans",
        "fork, exit and reaping of an orphan, of 100 at a time",
    ),
];

/// What the whole run is told.
struct Bench<'a> {
    options: &'a Options,
    doctor: String,
    load: PathBuf,
    tables: Vec<Table>,
}

/// Runs it. The exit code is 1 if a figure is missing.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let mut bench = Bench {
        options,
        doctor: tracers::doctor(),
        load: c_program("load"),
        tables: Vec::new(),
    };
    println!("{}", machine());
    let foreign = tracers::names().len();
    println!("{foreign} eBPF programs of others are loaded\n");
    bench.loads();
    bench.programs();
    bench.own();
    if !options.quick {
        bench.pods();
    }
    bench.end()
}

impl Bench<'_> {
    fn is_wanted(&self, benchmark: &str) -> bool {
        let wanted = self.options.name.as_ref();
        wanted.is_none_or(|name| benchmark.contains(name.as_str()))
    }

    fn add(&mut self, table: Table) {
        println!("{table}");
        self.tables.push(table);
    }

    /// How long a load runs for a sample, in milliseconds.
    fn sample(&self) -> &'static str {
        if self.options.quick { "10" } else { "150" }
    }

    /// Every load beside every tracer.
    fn loads(&mut self) {
        let wanted: Vec<_> = LOADS
            .into_iter()
            .filter(|(name, _)| self.is_wanted(name))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let tracers: &[Tracer] = match self.options.quick {
            true => &Tracer::QUICK,
            false => &Tracer::ALL,
        };
        let uncounted = Uncounted::now().expect("this needs root");
        let mut figures: Vec<Vec<Result<Samples, String>>> =
            vec![vec![Ok(Samples::default()); tracers.len()]; wanted.len()];
        for round in 1..=self.options.rounds {
            eprintln!("round {round} of {}", self.options.rounds);
            for (column, tracer) in tracers.iter().enumerate() {
                let running = tracer.start(&self.doctor);
                for ((load, _), row) in wanted.iter().zip(&mut figures) {
                    let sample = match &running {
                        Ok(_) => self.time(*tracer, load),
                        Err(reason) => Err(reason.clone()),
                    };
                    match (&mut row[column], sample) {
                        (Ok(samples), Ok(sample)) => samples.push(sample),
                        (cell, Err(reason)) => *cell = Err(reason),
                        (Err(_), Ok(_)) => {}
                    }
                }
            }
        }
        drop(uncounted);
        for ((benchmark, title), row) in wanted.into_iter().zip(figures) {
            let lines = tracers.iter().zip(row).map(|(tracer, figure)| Line {
                name: tracer.name().into(),
                figure,
            });
            let table = Table {
                benchmark,
                title: title.into(),
                unit: "ns",
                compares: true,
                lines: lines.collect(),
            };
            self.add(table);
        }
    }

    /// One sample.
    fn time(&self, tracer: Tracer, load: &str) -> Result<f64, String> {
        let program = workload_binary();
        let arguments = [
            self.load.to_string_lossy().into_owned(),
            load.to_owned(),
            self.sample().to_owned(),
            program.to_string_lossy().into_owned(),
        ];
        let output = tracer.load(&arguments)?.output();
        let output = output.map_err(|error| format!("not started: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().map_err(|_| {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("no figure: {}", errors.trim())
        })
    }

    /// What the kernel counts for the programs of a tracer while the loads run: the second witness.
    fn programs(&mut self) {
        const NAME: &str = "programs";
        if !self.is_wanted(NAME) {
            return;
        }
        let tracers: &[Tracer] = match self.options.quick {
            true => &[Tracer::Empty, Tracer::PauseTrace],
            false => &[Tracer::Empty, Tracer::PauseTrace, Tracer::BpftraceOne],
        };
        let _counted = aya::sys::enable_stats(aya::sys::Stats::RunTime);
        for tracer in tracers {
            let running = match tracer.start(&self.doctor) {
                Ok(running) => running,
                Err(reason) => {
                    self.add(Table {
                        benchmark: NAME,
                        title: "a run, as the kernel counts".into(),
                        unit: "ns",
                        compares: false,
                        lines: vec![Line {
                            name: tracer.name().into(),
                            figure: Err(reason),
                        }],
                    });
                    continue;
                }
            };
            let names = tracers::names();
            let mut counted = BTreeMap::<String, Samples>::new();
            for _ in 0..self.options.rounds {
                let before = running.programs();
                for (load, _) in LOADS {
                    let _ = self.time(*tracer, load);
                }
                for (id, (time, runs)) in running.programs() {
                    let (earlier, runs_before) = before.get(&id).copied().unwrap_or_default();
                    let name = names.get(&id).map_or("", String::as_str);
                    // A few runs say nothing. Two programs of one hook are one line.
                    if runs > runs_before + 20 {
                        let mean = (time - earlier) as f64 / (runs - runs_before) as f64;
                        counted.entry(name.to_owned()).or_default().push(mean);
                    }
                }
            }
            let lines = counted.into_iter().map(|(name, samples)| Line {
                name,
                figure: Ok(samples),
            });
            let table = Table {
                benchmark: NAME,
                title: format!("{}, a run, as the kernel counts", tracer.name()),
                unit: "ns",
                compares: false,
                lines: lines.collect(),
            };
            self.add(table);
        }
    }

    /// Writes the figures, and says what is missing.
    fn end(self) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        if let Some(file) = &self.options.json {
            let tables: Vec<Value> = self.tables.iter().map(Table::json).collect();
            let all =
                json!({"machine": machine(), "rounds": self.options.rounds, "benchmarks": tables});
            if let Err(error) = fs::write(file, format!("{all:#}\n")) {
                eprintln!("error: failed to write {}: {error}", file.display());
                code = ExitCode::FAILURE;
            }
        }
        if self.tables.is_empty() {
            eprintln!("error: no benchmark has this name");
            code = ExitCode::FAILURE;
        }
        for table in &self.tables {
            let mut missing = table.empty_lines();
            // Nothing that the quick form runs can be absent.
            let absent = table.lines.iter().filter(|line| line.figure.is_err());
            if self.options.quick {
                missing.extend(absent.map(|line| line.name.as_str()));
            }
            if !missing.is_empty() || table.lines.is_empty() {
                eprintln!(
                    "error: {} has no figure: {}",
                    table.benchmark,
                    missing.join(", ")
                );
                code = ExitCode::FAILURE;
            }
        }
        code
    }
}

/// The kernel, the number of processors and the load.
fn machine() -> String {
    let read = |file: &str| {
        fs::read_to_string(file)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "Linux {}, {}, {processors} processors, load {}",
        read("/proc/sys/kernel/osrelease"),
        std::env::consts::ARCH,
        read("/proc/loadavg"),
    )
}
