//! `cargo xtask fuzz`: runs the fuzz targets for some time, as many at once as there are
//! processors. A target is a test in the crate of its parser; `pause-trace-fuzz` says how it works.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;
use xtask_support::{cargo, text::count};

use crate::time::{Time, any_seed};

/// The name, the test program (with underscores), and the test.
type Target = (&'static str, &'static str, &'static str);

/// Every target.
const TARGETS: [Target; 11] = [
    // Those that find new shapes for the longest time first.
    ("replay", "pause_trace_core", "pipeline::fuzz::replay"),
    ("recording", "pause_trace_core", "record::fuzz::recording"),
    (
        "messages",
        "pause_trace_cri",
        "messages::tests::fuzz::messages",
    ),
    ("answers", "pause_trace", "node::cri::intent::fuzz::answers"),
    ("bundles", "pause_trace", "node::bundle::fuzz::bundles"),
    (
        "databases",
        "pause_trace",
        "node::bundle::podman::fuzz::databases",
    ),
    ("proc", "pause_trace", "node::survey::process::fuzz::proc"),
    ("mountinfo", "pause_trace", "node::cgroup::fuzz::mountinfo"),
    (
        "cgroup-paths",
        "pause_trace",
        "node::identity::fuzz::cgroup_paths",
    ),
    ("records", "pause_trace", "probe::decode::fuzz::records"),
    ("btf", "pause_trace", "probe::btf::fuzz::btf"),
];

/// The packages of the targets.
const PACKAGES: [&str; 5] = [
    "--package=pause-trace",
    "--package=pause-trace-core",
    "--package=pause-trace-cri",
    "--lib",
    "--bins",
];

/// How long each target runs in `cargo xtask test`: 180 s together on two processors.
const IN_TEST: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only these targets
    #[arg(value_name = "TARGET", value_parser = PossibleValuesParser::new(TARGETS.map(|(name, ..)| name)))]
    targets: Vec<String>,
    /// How long each target runs, such as 90s or 10m
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    time: Time,
    /// Repeat the run with this seed; without it, each run has another one. A run of a given time
    /// tries as many of the inputs as the machine is fast
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Add short inputs that led to something new to the corpus in the tree
    #[arg(long)]
    keep: bool,
}

/// How to run targets.
struct Options {
    time: Duration,
    seed: u64,
    keep: bool,
    /// Use only the time of the processors that nothing else uses.
    is_nice: bool,
}

/// Runs the targets that the command line selects.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut targets = TARGETS.to_vec();
    targets.retain(|(name, ..)| {
        args.targets.is_empty() || args.targets.iter().any(|wanted| wanted == name)
    });
    let options = Options {
        time: args.time.0,
        seed: args.seed.unwrap_or_else(any_seed),
        keep: args.keep,
        is_nice: false,
    };
    fuzz(&targets, &options, &PACKAGES)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs every target for a short time, beside something else.
pub(crate) fn test() -> Result<String> {
    let options = Options {
        time: IN_TEST,
        seed: any_seed(),
        keep: false,
        is_nice: true,
    };
    // What the step `test` has built; other packages would mean other features, and another build.
    fuzz(&TARGETS, &options, &["--workspace"])?;
    let targets = count(TARGETS.len(), "target", "targets");
    Ok(format!("{targets} for {} s each", IN_TEST.as_secs()))
}

/// Runs these targets.
///
/// # Errors
/// When one of them has a finding.
fn fuzz(targets: &[Target], options: &Options, packages: &[&str]) -> Result<()> {
    let programs = programs(packages)?;
    let waiting = Mutex::new(targets.iter());
    let findings = Mutex::new(Vec::new());
    let next = || waiting.lock().ok()?.next();
    let work = || {
        while let Some(target) = next() {
            if let Err(error) = one(target, &programs, options) {
                eprintln!("error: fuzz {}: {error:#}", target.0);
                if let Ok(mut findings) = findings.lock() {
                    findings.push(target.0);
                }
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers.min(targets.len()) {
            scope.spawn(work);
        }
    });
    let findings = findings.into_inner().unwrap_or_default();
    if !findings.is_empty() {
        bail!("fuzzing failed: {}", findings.join(", "));
    }
    Ok(())
}

/// Builds the test programs of these packages, and returns their paths.
fn programs(packages: &[&str]) -> Result<Vec<PathBuf>> {
    let output = cargo::cargo()
        .args(["test", "--no-run"])
        .args(packages)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        bail!("the tests do not build, see above");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // The only field with this name, and a path in it has no character that JSON escapes.
    let paths = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        Some(PathBuf::from(rest.split('"').next()?))
    });
    Ok(paths.collect())
}

/// Runs one target, and prints its counts.
fn one((name, program, test): &Target, programs: &[PathBuf], options: &Options) -> Result<()> {
    let path = programs.iter().find(|path| is_program(path, program));
    let path = path.with_context(|| format!("cargo built no test program {program}"))?;
    let mut command = Command::new(path);
    if options.is_nice {
        command = Command::new("nice");
        command.arg(path);
    }
    command
        .args(["--exact", test, "--nocapture"])
        .env(
            "PAUSE_TRACE_FUZZ_SECONDS",
            options.time.as_secs().to_string(),
        )
        .env("PAUSE_TRACE_FUZZ_SEED", options.seed.to_string());
    if options.keep {
        command.env("PAUSE_TRACE_FUZZ_KEEP", "1");
    }
    let output = command
        .output()
        .with_context(|| format!("failed to start {}", path.display()))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let counts = stdout
        .lines()
        .find_map(|line| Some(&line[line.find(&format!("fuzz {name}: "))?..]));
    match counts {
        Some(counts) if output.status.success() => println!("{counts}"),
        _ => {
            eprint!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
            // What ends the whole program leaves the input in this file.
            let current = cargo::target_dir()?
                .join("fuzz")
                .join(format!("{name}.current"));
            match fs::exists(&current) {
                Ok(true) => bail!("{}; the last input is {}", output.status, current.display()),
                _ => bail!("{}", output.status),
            }
        }
    }
    Ok(())
}

/// Whether a path is that of a test program: `deps/NAME-HASH`.
fn is_program(path: &Path, program: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.rsplit_once('-'))
        .is_some_and(|(name, _)| name == program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the targets in the sources below a directory.
    fn declared(directory: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(directory)
            .expect("the sources can be read")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                declared(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).expect("a source can be read");
                let found = source.split("Target::new(\"").skip(1);
                names.extend(found.filter_map(|rest| Some(rest.split('"').next()?.to_owned())));
            }
        }
    }

    #[test]
    fn every_target_is_run() {
        let mut names = Vec::new();
        for package in ["pause-trace", "pause-trace-core", "pause-trace-cri"] {
            declared(
                &Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("..")
                    .join(package)
                    .join("src"),
                &mut names,
            );
        }
        names.sort_unstable();
        let mut known = TARGETS.map(|(name, ..)| name);
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn programs_are_told_apart() {
        let path = Path::new("/target/debug/deps/pause_trace-0123abc");
        assert!(is_program(path, "pause_trace") && !is_program(path, "pause_trace_core"));
        assert!(!is_program(
            Path::new("/target/debug/deps/pause_trace_core-0123abc"),
            "pause_trace"
        ));
    }
}
