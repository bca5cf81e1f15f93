//! `cargo xtask test`: everything that CI runs, the fastest steps first, with a table of results at
//! the end.

use std::{
    fs,
    io::{self, IsTerminal},
    process::{Command, ExitCode},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use xtask_support::{
    cargo,
    exit::{self, is_root},
    text::count,
};

use crate::{
    bare, bench,
    counts::Counts,
    deny, dist, fuzz,
    pressure::Pressure,
    program::{Architecture, Place},
    runner::{Failed, Runner, Selection},
    runtimes, soak, toolchain,
    trouble::{Leftovers, Load},
    vm,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only the tests whose names contain one of these, and no other checks. `core` runs those
    /// of pause-trace-core, which need neither root nor a BPF compiler
    filters: Vec<String>,
    /// Run the tests on the real kernel this many times on a busy machine, and no other checks:
    /// beside four busy loops, a loop that forks and one that writes to the disk
    #[arg(long, value_name = "TIMES", num_args = 0..=1, require_equals = true, default_missing_value = "10")]
    stress: Option<u32>,
    /// Run the tests on a machine with leftovers of other programs: a network namespace, cgroups, a
    /// containerd and a dockerd with pods
    #[arg(long)]
    dirty: bool,
    /// Arguments for the test programs, such as `--nocapture`
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// One line of the table.
struct Step {
    name: &'static str,
    /// The steps that must pass before this one runs.
    needs: &'static [&'static str],
    /// Whether it is skipped when only some tests are selected.
    lint: bool,
    /// Whether the next steps run beside it, up to the first that needs it.
    beside: bool,
    run: fn(&Args) -> Result<Done>,
}

const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        needs: &[],
        lint: true,
        beside: false,
        run: fmt,
    },
    Step {
        name: "toolchain",
        needs: &[],
        lint: false,
        beside: false,
        run: toolchain,
    },
    // First, because it takes the longest, and one processor for most of that time.
    Step {
        name: "program",
        needs: &["toolchain"],
        lint: false,
        beside: true,
        run: program,
    },
    Step {
        name: "clippy",
        needs: &["toolchain"],
        lint: true,
        beside: false,
        run: clippy,
    },
    Step {
        name: "doc",
        needs: &["toolchain"],
        lint: true,
        beside: false,
        run: doc,
    },
    Step {
        name: "deny",
        needs: &[],
        lint: true,
        beside: false,
        run: deny,
    },
    Step {
        name: "build",
        needs: &["toolchain"],
        lint: true,
        beside: false,
        run: build,
    },
    Step {
        name: "dist",
        needs: &["program"],
        lint: false,
        beside: false,
        run: dist,
    },
    Step {
        name: "runtimes",
        needs: &[],
        lint: false,
        beside: false,
        run: runtimes,
    },
    Step {
        name: "bare",
        needs: &["toolchain", "runtimes"],
        lint: true,
        beside: false,
        run: bare,
    },
    Step {
        name: "test",
        needs: &["toolchain", "program", "dist", "runtimes"],
        lint: false,
        beside: false,
        run: test,
    },
    Step {
        name: "bench",
        needs: &["toolchain", "program"],
        lint: true,
        beside: false,
        run: bench,
    },
    Step {
        name: "soak, fuzz",
        needs: &["toolchain", "program", "runtimes"],
        lint: true,
        beside: false,
        run: soak_and_fuzz,
    },
    Step {
        name: "vm",
        needs: &["toolchain", "program"],
        lint: true,
        beside: false,
        run: vm,
    },
];

/// The package of the tests on the real kernel.
const LIVE: &str = "--package=pause-trace-tests";

/// The result of a step that passed.
#[derive(Default)]
struct Done {
    remark: String,
    /// The counts of a step that runs tests. Any other step counts as one test.
    tests: Option<Counts>,
}

enum Outcome {
    Done(Done),
    Failed(anyhow::Error),
    NotRun(&'static str),
}

/// Runs every step, even after a failure.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let (Some(_), Some(number)) = (args.stress, args.filters.first())
        && number.parse::<u32>().is_ok()
    {
        bail!("{number} would select tests by their name; write --stress={number}");
    }
    if args.filters == ["core"] {
        let core = Selection {
            packages: "--package=pause-trace-core",
            filters: &[],
            arguments: &args.arguments,
        };
        Runner::choose(&core).run(&core)?;
        return Ok(ExitCode::SUCCESS);
    }
    let pressure = Pressure::now();
    let is_whole = args.filters.is_empty() && args.stress.is_none();
    let steps: Vec<_> = STEPS.iter().filter(|step| is_whole || !step.lint).collect();
    report(&all(&steps, args)?, &pressure)
}

/// A line of the table: how a step ended, and how long it took.
type Line = (&'static Step, Outcome, Duration);

/// Runs steps in their order, some of them beside each other.
fn all(steps: &[&'static Step], args: &Args) -> Result<Vec<Line>> {
    thread::scope(|scope| {
        let mut lines: Vec<Line> = Vec::new();
        let mut running = Vec::new();
        for step in steps {
            let is_needed = |&(name, _): &(&str, _)| step.needs.contains(&name);
            for (_, line) in running.extract_if(.., |other| is_needed(other)) {
                lines.push(ended(line)?);
            }
            let has_passed = |name: &&&str| {
                let line = lines.iter().find(|(other, ..)| other.name == **name);
                line.is_none_or(|(_, outcome, _)| matches!(outcome, Outcome::Done(_)))
            };
            if let Some(name) = step.needs.iter().find(|name| !has_passed(name)) {
                lines.push((step, Outcome::NotRun(name), Duration::ZERO));
            } else if step.beside {
                running.push((step.name, scope.spawn(|| one(step, args))));
            } else {
                lines.push(one(step, args));
            }
        }
        for (_, line) in running {
            lines.push(ended(line)?);
        }
        Ok(lines)
    })
}

/// Runs a step.
fn one(step: &'static Step, args: &Args) -> Line {
    eprintln!("── {}", step.name);
    let started = Instant::now();
    let outcome = (step.run)(args).map_or_else(Outcome::Failed, Outcome::Done);
    if let Outcome::Failed(error) = &outcome {
        eprintln!("error: {error:#}");
    }
    (step, outcome, started.elapsed())
}

/// Waits for a step that runs beside others.
fn ended(line: ScopedJoinHandle<'_, Line>) -> Result<Line> {
    let line = line.join();
    line.map_err(|_| anyhow!("the thread of a step ended early"))
}

/// Prints the table, the names of the failed tests, and the summary.
fn report(table: &[Line], pressure: &Pressure) -> Result<ExitCode> {
    println!();
    let mut sum = Counts::default();
    let mut errors = Vec::new();
    for (step, outcome, took) in table {
        let (word, remark) = match outcome {
            Outcome::Done(done) => {
                let counts = done.tests.clone();
                sum.add(counts.unwrap_or(Counts {
                    passed: 1,
                    ..Counts::default()
                }));
                ("ok", done.remark.clone())
            }
            Outcome::Failed(error) => {
                let counts = error
                    .downcast_ref::<Failed>()
                    .map(|failed| failed.0.clone());
                sum.add(counts.unwrap_or(Counts {
                    failed: 1,
                    ..Counts::default()
                }));
                errors.push(error);
                let error = format!("{error:#}");
                (
                    "FAILED",
                    error.lines().next().unwrap_or_default().to_owned(),
                )
            }
            Outcome::NotRun(needed) => ("not run", format!("needs {needed}")),
        };
        let seconds = took.as_secs_f32();
        let line = format!("{:<10} {word:<8} {seconds:>7.1} s  {remark}", step.name);
        println!("{}", line.trim_end());
    }
    for name in &sum.failures {
        println!("failed: {name}");
    }
    if sum.failed > 0 {
        if !sum.output.is_empty() {
            let file = cargo::target_dir()?.join("failed-tests.log");
            fs::write(&file, &sum.output)
                .with_context(|| format!("failed to write {}", file.display()))?;
            println!("the output of the failed tests is in {}", file.display());
        }
        println!(
            "share of the time in which processes waited: {}",
            pressure.since()
        );
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(exit::code_of_all(&errors))
}

fn fmt(_: &Args) -> Result<Done> {
    let color = if io::stdout().is_terminal() {
        "auto"
    } else {
        "never"
    };
    passes(cargo::cargo().args(["fmt", "--all", "--check", "--", "--color", color]))
}

fn toolchain(_: &Args) -> Result<Done> {
    let remark = toolchain::ensure()?.to_string();
    Ok(Done {
        remark,
        ..Done::default()
    })
}

fn clippy(_: &Args) -> Result<Done> {
    passes(cargo::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

/// The documentation has no broken link, also that of private items, which is for contributors.
fn doc(_: &Args) -> Result<Done> {
    passes(
        cargo::cargo()
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn deny(_: &Args) -> Result<Done> {
    Ok(Done {
        remark: deny::check()?.into(),
        ..Done::default()
    })
}

/// The test programs and what they start. A build without tests would have other features of the
/// same crates, so nothing of it could be used.
fn build(_: &Args) -> Result<Done> {
    passes(cargo::cargo().args(["test", "--workspace", "--no-run"]))
}

/// The live tests run the static program of a release. A debug build takes seconds to parse the
/// kernel's BTF.
fn program(_: &Args) -> Result<Done> {
    Place::of_checkout()?.build("pause-trace", Architecture::own())?;
    Ok(Done::default())
}

/// The files of a release for this machine, which tests install and run.
fn dist(_: &Args) -> Result<Done> {
    dist::for_tests()?;
    bare::ensure()?;
    Ok(Done::default())
}

fn runtimes(_: &Args) -> Result<Done> {
    runtimes::ensure()?;
    Ok(Done::default())
}

/// The install steps on a bare Debian, with the cache and without the network.
fn bare(_: &Args) -> Result<Done> {
    bare::test()?;
    Ok(Done::default())
}

fn test(args: &Args) -> Result<Done> {
    if !is_root() {
        eprintln!("not root: tests that load programs into the kernel will fail");
    }
    let mut leftovers = args.dirty.then(Leftovers::make).transpose()?;
    let runner = Runner::choose(&args.selection("--workspace"));
    let counts = match args.stress {
        None => runner.run(&args.selection("--workspace"))?,
        Some(times) => stressed(args, runner, times)?,
    };
    if let Some(leftovers) = &mut leftovers {
        leftovers.check()?;
    }
    if counts.skipped > 0 {
        bail!(
            "{} marked #[ignore]: a test runs or does not exist",
            count(counts.skipped, "test is", "tests are")
        );
    }
    Ok(Done {
        remark: format!("{} passed ({})", counts.passed, runner.name()),
        tests: Some(counts),
    })
}

impl Args {
    /// The tests of some packages.
    fn selection<'a>(&'a self, packages: &'a str) -> Selection<'a> {
        Selection {
            packages,
            filters: &self.filters,
            arguments: &self.arguments,
        }
    }
}

/// Runs the tests on the real kernel several times on a busy machine. A failure does not end the
/// rounds.
fn stressed(args: &Args, runner: Runner, times: u32) -> Result<Counts> {
    cargo::passes(cargo::cargo().args(["test", LIVE, "--no-run"]))?;
    let _load = Load::start()?;
    let mut sum = Counts::default();
    for round in 1..=times {
        eprintln!("── round {round} of {times}");
        match runner.run(&args.selection(LIVE)) {
            Ok(counts) => sum.add(counts),
            Err(error) => sum.add(error.downcast::<Failed>()?.0),
        }
    }
    if sum.failed > 0 {
        bail!(Failed(sum));
    }
    Ok(sum)
}

/// Each benchmark that needs no pods, once and briefly. It checks that there are figures, and
/// asserts no time.
fn bench(_: &Args) -> Result<Done> {
    bench::test()?;
    Ok(Done::default())
}

/// Two minutes of pods that come and go, some of them with a fault. They leave the processors idle
/// for much of that time, and the fuzz targets use the rest, with other inputs each time. The step
/// `test` tried the corpus.
fn soak_and_fuzz(_: &Args) -> Result<Done> {
    let (soak, fuzz) = thread::scope(|scope| {
        let fuzz = scope.spawn(fuzz::test);
        (soak::test(), fuzz.join())
    });
    let fuzz = fuzz.map_err(|_| anyhow!("the thread of the fuzz targets ended early"))?;
    match (soak, fuzz) {
        (Ok(soak), Ok(fuzz)) => Ok(Done {
            remark: format!("{soak}, {fuzz}"),
            ..Done::default()
        }),
        (Err(soak), Err(fuzz)) => bail!("{soak:#}; {fuzz:#}"),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// The program on kernels of distributions, in virtual machines.
fn vm(_: &Args) -> Result<Done> {
    let counts = vm::test()?;
    if counts.failed > 0 {
        bail!(Failed(counts));
    }
    let remark = format!("{} passed", counts.passed);
    Ok(Done {
        remark,
        tests: Some(counts),
    })
}

fn passes(command: &mut Command) -> Result<Done> {
    cargo::passes(command)?;
    Ok(Done::default())
}
