//! `cargo xtask bench`: what pause-trace costs, beside its floor and other tracers. The program is
//! `tests/src/bin/bench.rs`; this file builds and gets what it needs.

use std::{
    os::unix::process::CommandExt as _,
    path::{self, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use xtask_support::{
    bundle::{self, Bundle, Extent},
    cargo,
    debian::Origin,
    exit::{CannotRun, is_root},
    places,
};

use crate::{
    program::{self, TESTED},
    runtimes, toolchain,
};

/// Other tracers. Those of sid know the newest kernels, and need a newer C library than most
/// machines have, so the bundle has it.
const TRACERS: Bundle = Bundle {
    name: places::TRACERS,
    origin: Origin::main("sid"),
    packages: &["bpftrace", "libbpf-tools", "strace", "sysdig"],
    extent: Extent::Root,
    version: "0.",
    // They are started by the loader of the bundle, and the benchmark says which does not run.
    programs: &[],
    build: None,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the benchmarks whose names contain this: null-call, kill-self, kill-across, fork-exit,
    /// exec, setns, threads, orphans, programs, start, replay, watched, latency, churn, memory, ls
    name: Option<String>,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each tracer has its turn
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Take short samples, and only what needs neither pods nor other tracers
    #[arg(long)]
    quick: bool,
}

/// Builds the programs, and executes the benchmark in place of this process.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !is_root() {
        bail!(CannotRun(
            "the benchmark loads programs into the kernel, which needs root\n  \
             sudo -E env \"PATH=$PATH\" cargo xtask bench"
                .into()
        ));
    }
    toolchain::ensure()?;
    if !args.quick {
        runtimes::ensure()?;
        bundle::ensure(&[&TRACERS], "the benchmark compares tracers")?;
    }
    cargo::passes(cargo::cargo().args(["build", "--release", "--package", "pause-trace"]))
        .context("pause-trace does not build")?;
    let mut command = program(args.rounds);
    if args.quick {
        command.arg("--quick");
    }
    if let Some(file) = &args.json {
        // cargo starts it in the directory of the workspace.
        let file = path::absolute(file).context("failed to find the directory of this process")?;
        command.arg("--json").arg(file);
    }
    command.args(&args.name);
    Err(command.exec()).context("failed to start cargo")
}

/// The quick form. The steps before have built what it needs.
pub(crate) fn test() -> Result<()> {
    cargo::passes(program(1).arg("--quick").env(TESTED, program::path()?))
}

fn program(rounds: u16) -> Command {
    let mut command = cargo::cargo();
    command
        .args(["run", "--package", "pause-trace-tests", "--bin", "bench"])
        .arg("--")
        .arg(rounds.to_string());
    command
}
