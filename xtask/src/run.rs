//! `cargo xtask run`: the main job, from a fresh checkout, in one command.

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

/// Builds pause-trace and becomes it: its exit code is ours, and signals reach it directly.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !is_root() {
        bail!(CannotRun(
            "pause-trace loads programs into the kernel: that takes root\n  \
             sudo -E env \"PATH=$PATH\" cargo xtask run\n\
             or build as you are and run the program as root:\n  \
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
