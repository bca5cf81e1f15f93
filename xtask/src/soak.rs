//! `cargo xtask soak`: runs one `pause-trace watch` for a long time beside pods that come and go.
//! The program is `tests/src/bin/soak.rs`; this file builds what it needs.

use std::{
    os::unix::process::CommandExt as _,
    path::{self, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use xtask_support::{
    cargo,
    exit::{CannotRun, is_root},
};

use crate::{
    program::{self, TESTED},
    runtimes,
    time::{Time, any_seed},
    toolchain,
};

/// How long pods are made in `cargo xtask test`. The last of them end after that.
const IN_TEST: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long pods are made, such as 90s or 30m
    #[arg(long = "for", value_name = "TIME", default_value = "30m")]
    time: Time,
    /// Repeat the plan of a run; without it, each run has another one
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Builds the programs, and executes the soak in place of this process, so that Ctrl-C reaches it.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !is_root() {
        bail!(CannotRun(
            "the soak starts container runtimes, which needs root\n  \
             sudo -E env \"PATH=$PATH\" cargo xtask soak"
                .into()
        ));
    }
    toolchain::ensure()?;
    runtimes::ensure()?;
    cargo::passes(cargo::cargo().args(["build", "--release", "--package", "pause-trace"]))
        .context("pause-trace does not build")?;
    let mut command = program(args.time.0, args.seed.unwrap_or_else(any_seed));
    if let Some(file) = &args.json {
        // cargo starts it in the directory of the workspace.
        let file = path::absolute(file);
        command.arg(file.context("failed to find the directory of this process")?);
    }
    Err(command.exec()).context("failed to start cargo")
}

/// A short soak, with another plan each time. The steps before have built what it needs.
pub(crate) fn test() -> Result<String> {
    let seed = any_seed();
    cargo::passes(program(IN_TEST, seed).env(TESTED, program::path()?))?;
    Ok(format!("{} s from seed {seed}", IN_TEST.as_secs()))
}

fn program(time: Duration, seed: u64) -> Command {
    let mut command = cargo::cargo();
    command
        .args([
            "run",
            "--package",
            "pause-trace-tests",
            "--bin",
            "soak",
            "--",
        ])
        .args([time.as_secs().to_string(), seed.to_string()]);
    command
}
