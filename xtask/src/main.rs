//! `cargo xtask TASK`: the tasks of this workspace that take more than one cargo command.

mod bare;
mod bench;
mod counts;
mod cross;
mod deny;
mod dist;
mod fuzz;
mod pressure;
mod program;
mod run;
mod runner;
mod runtimes;
mod soak;
mod test;
mod time;
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
    /// Build pause-trace and run `pause-trace run` on this node: the reference check, every pod,
    /// then live
    Run(run::Args),
    /// Run everything that CI runs
    Test(test::Args),
    /// Try made-up inputs on every parser of what a pod, a runtime or a file can choose
    Fuzz(fuzz::Args),
    /// Watch pods that come and go for a long time, some of them with a fault, and check that
    /// each fault is found, nothing else is reported, and the watch does not grow
    Soak(soak::Args),
    /// Measure what pause-trace costs, beside no tracer, empty programs and other tracers
    Bench(bench::Args),
    /// Make the files of a release: static programs, an archive, Debian and RPM packages, an image,
    /// a list of components and sums
    Dist(dist::Args),
    /// Find or get what builds the kernel program, and print where it is
    Toolchain,
    /// Get the container runtimes, the browser and the pause that the tests start, and print where
    /// they are
    Runtimes,
    /// Get everything that building and testing need, and run each program once
    Get,
    /// Run a task on a bare Debian, in a root directory of its own, so that no package of this
    /// machine hides a missing step
    Bare(bare::Args),
    /// Keep the machine busy until it is killed
    #[command(hide = true)]
    Load { file: PathBuf },
    /// Test pause-trace on the kernels of distributions, in virtual machines
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Run(args) => run::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Dist(args) => dist::run(&args),
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
