//! `cargo xtask dist`: the files of a release.
//!
//! The program is static, so it runs on every distribution and alone in an image. The same commit
//! gives the same bytes on machines with the same tools: times are that of the commit, and no path
//! of the machine is in a file. `--verify` builds everything twice to show that.

mod pack;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use xtask_support::{bundle, cargo, exit::CannotRun};

use crate::{
    program::{Architecture, Place},
    runtimes, toolchain,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The processor to build for; may be repeated [default: x86_64 and aarch64]
    #[arg(long = "arch", value_enum, value_name = "ARCH")]
    architectures: Vec<Architecture>,
    /// Build everything a second time, from a copy of the sources in another directory and without
    /// the results of the first build, and compare all files
    #[arg(long)]
    verify: bool,
}

/// Where a release is built from, and where to.
struct Build {
    place: Place,
    out: PathBuf,
    /// The time of every file: that of the commit, in seconds.
    epoch: String,
}

impl Build {
    /// The files of a checkout go to `dist` in the target directory.
    fn of_checkout() -> Result<Self> {
        let place = Place::of_checkout()?;
        Ok(Self {
            out: place.target.join("dist"),
            place,
            epoch: epoch()?,
        })
    }

    /// The same from a copy of the sources, in directories of its own.
    fn of_copy(&self) -> Result<Self> {
        let again = self.place.target.join("dist-again");
        empty(&again)?;
        let sources = again.join("sources");
        copy_sources(&self.place.sources, &sources)?;
        Ok(Self {
            place: Place {
                sources,
                target: again.join("target"),
            },
            out: again.join("dist"),
            epoch: self.epoch.clone(),
        })
    }

    /// Makes a command of cargo work on the same sources.
    fn prepare(&self, command: &mut Command) {
        self.place.prepare(command);
        command.env("SOURCE_DATE_EPOCH", &self.epoch);
    }
}

/// What a new program must do before it is packed.
const TRIALS: [&[&str]; 3] = [
    &["--version"],
    &["rules"],
    &[
        "replay",
        "--format",
        "json",
        "tests/fixtures/containerd-pod-v1.ptrec",
    ],
];

impl Build {
    /// Runs the program. One for another processor runs in an emulator, and must write what that
    /// of this machine writes.
    fn try_out(&self, architecture: Architecture) -> Result<()> {
        let program = self.place.programs(architecture).join("pause-trace");
        let command = match architecture == Architecture::own() {
            true => Vec::from([program.clone()]),
            false => {
                bundle::ensure(&[&runtimes::QEMU_USER], "the program for aarch64 is tried")?;
                let emulator = runtimes::QEMU_USER.directory();
                let emulator = emulator.join(runtimes::QEMU_USER.programs[0].0);
                Vec::from([emulator, program.clone()])
            }
        };
        let write = |command: &[PathBuf], trial: &[&str]| {
            let mut run = Command::new(&command[0]);
            run.args(&command[1..])
                .args(trial)
                .current_dir(&self.place.sources);
            let output = run.output().context("failed to start it")?;
            // 1: the recording has violations.
            if !matches!(output.status.code(), Some(0 | 1)) || output.stdout.is_empty() {
                let errors = String::from_utf8_lossy(&output.stderr);
                bail!("{}: {}", output.status, errors.trim());
            }
            Ok(output.stdout)
        };
        let own = self.place.programs(Architecture::own()).join("pause-trace");
        for trial in TRIALS {
            let context = || format!("{} {}", program.display(), trial.join(" "));
            let written = write(&command, trial).with_context(context)?;
            if own.exists()
                && written != write(std::slice::from_ref(&own), trial).with_context(context)?
            {
                bail!(
                    "{} wrote something else than the program of this machine",
                    context()
                );
            }
        }
        Ok(())
    }
}

/// Builds the files of a release.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let all = [Architecture::X86_64, Architecture::Aarch64];
    let architectures = match args.architectures.is_empty() {
        true => &all[..],
        false => &args.architectures,
    };
    let build = Build::of_checkout()?;
    let result = make(&build, architectures);
    for file in files(&build.out)? {
        println!("{}", build.out.join(file).display());
    }
    result?;
    if args.verify {
        let again = build.of_copy()?;
        make(&again, architectures)?;
        compare(&build.out, &again.out)?;
        println!(
            "a second build in {} gave the same files",
            again.out.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the files for this machine's processor.
pub(crate) fn for_tests() -> Result<()> {
    make(&Build::of_checkout()?, &[Architecture::own()])
}

/// Makes all files of these architectures. If one of them cannot be built here, the others are
/// made, and the error names it.
fn make(build: &Build, architectures: &[Architecture]) -> Result<()> {
    toolchain::ensure()?;
    let tools = pack::Tools::ensure()?;
    let mut missing = Vec::new();
    let mut failed = |architecture: Architecture, error| {
        eprintln!("error: {error:#}");
        missing.push(architecture.name());
    };
    let mut compiled = Vec::new();
    for architecture in architectures {
        match build
            .place
            .build("pause-trace", *architecture)
            .and_then(|()| build.try_out(*architecture))
        {
            Ok(()) => compiled.push(*architecture),
            Err(error) => failed(*architecture, error),
        }
    }
    // The files of an earlier release stay until the new programs are there.
    empty(&build.out)?;
    for architecture in compiled {
        if let Err(error) = tools.pack(build, architecture) {
            failed(architecture, error);
        }
    }
    pack::sums(&build.out)?;
    match missing.is_empty() {
        true => Ok(()),
        false => bail!(CannotRun(format!(
            "the release is incomplete: there are no files for {}, see above",
            missing.join(" and ")
        ))),
    }
}

/// The time of the commit, or `SOURCE_DATE_EPOCH` if it is set (reproducible-builds.org).
fn epoch() -> Result<String> {
    if let Ok(epoch) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"])
        .current_dir(cargo::workspace());
    let output = git.output().context("failed to run git")?;
    let time = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || time.is_empty() {
        bail!(CannotRun(
            "the time of the commit is unknown: build from a git checkout, or set SOURCE_DATE_EPOCH"
                .into()
        ));
    }
    Ok(time)
}

/// Copies the files that git knows.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("failed to make {}", to.display()))?;
    let script = "git ls-files -z | xargs -0 cp --parents --target-directory \"$1\"";
    let mut copy = Command::new("sh");
    copy.args(["-ec", script, "copy"]).arg(to).current_dir(from);
    cargo::passes(&mut copy).context("failed to copy the sources")
}

/// Makes an empty directory.
fn empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("failed to remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))
}

/// The names of the files in a directory, sorted.
fn files(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("failed to read {}", directory.display()))?;
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Fails if two directories do not have the same files with the same bytes, and names those that
/// differ.
fn compare(one: &Path, other: &Path) -> Result<()> {
    let (names, others) = (files(one)?, files(other)?);
    if names != others {
        bail!("the second build made {others:?} instead of {names:?}");
    }
    let mut differ = Vec::new();
    for name in &names {
        let read = |directory: &Path| {
            let file = directory.join(name);
            fs::read(&file).with_context(|| format!("failed to read {}", file.display()))
        };
        if read(one)? != read(other)? {
            differ.push(name.as_str());
        }
    }
    match differ.is_empty() {
        true => Ok(()),
        false => bail!("the second build made other bytes of {}", differ.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_that_differ_in_a_byte_or_a_file_are_told_apart() {
        let place = env::temp_dir().join(format!("pause-trace-dist-{}", std::process::id()));
        let (one, other) = (place.join("one"), place.join("other"));
        for directory in [&one, &other] {
            empty(directory).expect("a temporary directory");
            fs::write(directory.join("a"), "same").expect("it is ours");
        }
        compare(&one, &other).expect("they are the same");
        fs::write(other.join("a"), "sane").expect("it is ours");
        let error = compare(&one, &other).expect_err("a byte differs");
        assert_eq!(error.to_string(), "the second build made other bytes of a");
        fs::write(other.join("b"), "").expect("it is ours");
        compare(&one, &other).expect_err("a file is new");
        fs::remove_dir_all(&place).expect("it is ours");
    }
}
