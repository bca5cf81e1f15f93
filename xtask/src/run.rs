//! `cargo xtask run`: builds and runs pause-trace from a fresh checkout.

use std::{
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use xtask_support::{
    cargo,
    exit::{CannotRun, is_root},
};

use crate::toolchain;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments for `pause-trace run`, such as `--once`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds pause-trace and executes it in place of this process, so that its exit code and signals
/// pass through.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !is_root() {
        bail!(CannotRun(
            "pause-trace loads programs into the kernel, which needs root\n  \
             sudo -E env \"PATH=$PATH\" cargo xtask run\n\
             or build as this user and run the program as root:\n  \
             cargo xtask toolchain && cargo build --release -p pause-trace && sudo target/release/pause-trace run"
                .into()
        ));
    }
    toolchain::ensure()?;
    cargo::passes(cargo::cargo().args(["build", "--release", "--package", "pause-trace"]))
        .context("pause-trace does not build")?;
    let program = cargo::target_dir()?.join("release/pause-trace");
    let error = Command::new(&program)
        .arg("run")
        .args(&args.args)
        .env_remove("LD_LIBRARY_PATH")
        .exec();
    Err(error).with_context(|| format!("failed to start {}", program.display()))
}
