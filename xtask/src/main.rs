//! `cargo xtask TASK`: everything about this workspace that is more than one cargo command.

mod bare;
mod counts;
mod cross;
mod deny;
mod pressure;
mod run;
mod runner;
mod runtimes;
mod test;
mod toolchain;
mod trouble;
mod vm;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use xtask_support::exit;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build pause-trace and do its main job on this node: the reference check, every pod, then live
    Run(run::Args),
    /// Check everything that CI checks
    Test(test::Args),
    /// Get what building the kernel program needs, and say what it is
    Toolchain,
    /// Get the container runtimes, the browser and the pause that the tests start, and say where they are
    Runtimes,
    /// Get everything that building and testing need, and try each of the programs
    Get,
    /// Do a task on a bare Debian, in a root directory of its own: what this machine has installed can't hide what is missing
    Bare(bare::Args),
    /// Keep the machine busy until killed
    #[command(hide = true)]
    Load { file: PathBuf },
    /// Check pause-trace on kernels of distributions, in virtual machines
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Run(args) => run::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Toolchain => toolchain::ensure().map(|toolchain| {
            println!("{toolchain}");
            ExitCode::SUCCESS
        }),
        Task::Runtimes => runtimes::run().map(|()| ExitCode::SUCCESS),
        Task::Get => bare::get().map(|()| ExitCode::SUCCESS),
        Task::Bare(args) => bare::run(&args),
        Task::Load { file } => trouble::load(&file),
        Task::Vm(args) => vm::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        exit::code_of(&error)
    })
}
