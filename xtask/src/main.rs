//! `cargo xtask TASK`: everything about this workspace that is more than one cargo command.

mod apt;
mod cargo;
mod cross;
mod debian;
mod deny;
mod exit;
mod libtest;
mod progress;
mod run;
mod runtimes;
mod test;
mod toolchain;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Get the container runtimes that the tests start, and say where they are
    Runtimes,
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
        Task::Vm(args) => vm::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        exit::code_of(&error)
    })
}
