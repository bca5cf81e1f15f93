//! `cargo xtask vm`: the same program on real kernels of distributions, in virtual machines. The
//! machines are those of `vmlab`; this file builds what they run.

use std::{env, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use vmlab::{Arch, Checked, Options, Supplies};
use xtask_support::cargo;

use crate::{
    counts::Counts,
    cross,
    program::{Architecture, Place},
    runtimes, toolchain,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Boot only these kernels: 5.10, 6.1, 6.12, newest, 6.1-arm64
    #[arg(long = "kernel", value_name = "NAME", value_delimiter = ',')]
    kernels: Vec<String>,
    /// Play only these scenarios of the reference check
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Boot three kernels once each and run a few jobs on each; takes about three minutes
    #[arg(long)]
    fast: bool,
    /// How many times longer than on hardware the check waits [default: 10 if the processor is
    /// emulated, else 1]
    #[arg(long, value_name = "N")]
    patience: Option<u32>,
    /// Write the matrix to this file [default: docs/kernels.md if everything is run, else none]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Run only the columns whose names contain one of these, such as `kprobe`
    #[arg(last = true)]
    filters: Vec<String>,
}

/// Builds programs with the toolchain of the workspace.
struct Workspace;

impl Supplies for Workspace {
    fn programs(&self, arch: Arch, packages: &[&str]) -> Result<PathBuf> {
        toolchain::ensure()?;
        if !arch.is_native() {
            return cross::build(packages);
        }
        // One package at a time: cargo would unify the features of their dependencies, and so build
        // pause-trace again with more features than it needs.
        let place = Place::of_checkout()?;
        for package in packages {
            place.build(package, Architecture::own())?;
        }
        Ok(place.programs(Architecture::own()))
    }

    fn runtimes(&self) -> Result<()> {
        runtimes::ensure()
    }
}

/// Boots the selected machines, prints the matrix, and writes it to a file if one is named or
/// everything was run.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let options = Options {
        kernels: args.kernels.clone(),
        scenarios: args.scenarios.clone(),
        fast: args.fast,
        patience: args.patience,
        filters: args.filters.clone(),
    };
    let matrix = vmlab::check(&options, &Workspace)?.matrix;
    print!("\n{}", matrix.text());
    let document = cargo::workspace().join("docs/kernels.md");
    let default = options.is_whole().then(|| document.clone());
    if let Some(file) = args.output.clone().or(default) {
        let text = fs::read_to_string(&document)
            .with_context(|| format!("failed to read {}", document.display()))?;
        let command = env::args().skip(1).collect::<Vec<_>>().join(" ");
        let text = matrix
            .document(&text, (!options.is_whole()).then_some(&*command))
            .with_context(|| format!("failed to update {}", document.display()))?;
        fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(if matrix.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The part that `cargo xtask test` runs: every job is a test.
pub(crate) fn test() -> Result<Counts> {
    let options = Options {
        fast: true,
        ..Options::default()
    };
    let Checked {
        matrix,
        passed,
        failures,
    } = vmlab::check(&options, &Workspace)?;
    print!("\n{}", matrix.text());
    Ok(Counts {
        passed,
        failed: failures.len(),
        failures,
        ..Counts::default()
    })
}
