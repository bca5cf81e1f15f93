//! `cargo xtask vm`: the same program on real kernels of distributions, in virtual machines.
//!
//! Each machine boots a kernel with an initramfs and nothing else, does what its plan says, and powers off.

mod arch;
mod containerd;
mod guest;
mod host;
mod initramfs;
mod judge;
mod kernels;
mod losses;
mod matrix;
mod plan;
mod qemu;

use std::{
    env, fs,
    num::NonZero,
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{cargo, exit::CannotRun, libtest::Counts, runtimes, toolchain};
pub(crate) use arch::Arch;
use host::{Host, Shape};
use judge::Cell;
use kernels::{KERNELS, Kernel};
use matrix::Matrix;
use plan::{Boot, Job};
use qemu::{Acceleration, Patience};

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Boot only these kernels: 5.10, 6.1, 6.12, newest, 6.1-arm64
    #[arg(long = "kernel", value_name = "NAME", value_delimiter = ',')]
    kernels: Vec<String>,
    /// Play these scenarios of the reference check, where scenarios are played
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Boot three kernels once each, and do a little of everything: some three minutes
    #[arg(long)]
    fast: bool,
    /// How many times longer than on hardware the check waits [default: 1 where the processor is not emulated, else 10]
    #[arg(long, value_name = "N")]
    patience: Option<u32>,
    /// Write the matrix there [default: docs/kernels.md where everything was run, else nowhere]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Do only what is in the columns whose names contain one of these, such as `kprobe`
    #[arg(last = true)]
    filters: Vec<String>,
}

impl Args {
    /// Is everything run, on every kernel?
    fn is_whole(&self) -> bool {
        self.kernels.is_empty()
            && self.scenarios.is_empty()
            && self.filters.is_empty()
            && !self.fast
    }
}

/// Measured in emulation on a busy host: five minutes for a boot with every scenario, two of them without a word, for ten
/// thousand orphans.
const PATIENCE: Patience = Patience {
    whole: Duration::from_secs(20 * 60),
    silence: Duration::from_secs(6 * 60),
};

/// How many times longer than on hardware the check waits on an emulated processor (`pause-trace check --patience`).
const EMULATED: u32 = 10;

/// The column of machines that are lost on purpose.
const LOST: &str = "lost";

/// Runs what is asked for, prints the matrix, and keeps it where everything was run.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut counts = Counts::default();
    let matrix = check(args, &mut counts)?;
    print!("\n{}", matrix.text());
    let default = || cargo::workspace().join("docs/kernels.md");
    if let Some(file) = args.output.clone().or(args.is_whole().then(default)) {
        let command = env::args().skip(1).collect::<Vec<_>>().join(" ");
        let text = matrix.markdown((!args.is_whole()).then_some(&*command));
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
    let args = Args {
        fast: true,
        ..Args::default()
    };
    let mut counts = Counts::default();
    let matrix = check(&args, &mut counts)?;
    print!("\n{}", matrix.text());
    Ok(counts)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let find = |name: &String| {
        let known = KERNELS.iter().map(|kernel| kernel.name);
        let known = known.collect::<Vec<_>>().join(", ");
        KERNELS
            .iter()
            .find(|kernel| kernel.name == name)
            .ok_or_else(|| anyhow!("there is no kernel `{name}` here, but {known}"))
    };
    names.iter().map(find).collect()
}

/// Boots what `args` ask for, and counts every job as a test.
fn check(args: &Args, counts: &mut Counts) -> Result<Matrix> {
    if env::consts::ARCH != "x86_64" {
        bail!(CannotRun(
            "the virtual machines are x86_64, and run the programs that are built here".into()
        ));
    }
    let boots = if args.fast { plan::FAST } else { plan::WHOLE };
    let is_booted = |kernel: &Kernel, boot: &Boot| {
        let is_every = boot.kernels.is_empty() && kernel.arch.is_native();
        is_every || boot.kernels.contains(&kernel.name)
    };
    let is_wanted = |column: &str| {
        args.filters.is_empty() || args.filters.iter().any(|filter| column.contains(&**filter))
    };
    let mut kernels = chosen(&args.kernels)?;
    kernels.retain(|kernel| boots.iter().any(|boot| is_booted(kernel, boot)));
    kernels::ensure(&kernels, boots.iter().any(|boot| boot.containerd))?;
    toolchain::ensure()?;
    let host = Host::prepare(&kernels)?;
    let mut matrix = Matrix::default();
    let mut tasks = Vec::new();
    for kernel in &kernels {
        matrix.begin(kernel.name, kernel.package()?);
    }
    for boot in boots {
        let booted = kernels.iter().enumerate();
        for (row, kernel) in booted.filter(|(_, kernel)| is_booted(kernel, boot)) {
            let jobs = boot.jobs.iter().filter(|job| is_wanted(job.column));
            let work = Work::Jobs(boot, jobs.copied().collect());
            tasks.push(Task { kernel, row, work });
        }
    }
    // What is seen of a lost machine does not depend on its kernel.
    if let Some(kernel) = kernels.last().filter(|_| is_wanted(LOST)) {
        let count = if args.fast { losses::FEW } else { usize::MAX };
        let (row, work) = (kernels.len() - 1, Work::Losses(count));
        tasks.push(Task { kernel, row, work });
    }
    tasks.retain(|task| !matches!(&task.work, Work::Jobs(_, jobs) if jobs.is_empty()));
    let has_containerd =
        |task: &Task<'_>| matches!(task.work, Work::Jobs(boot, _) if boot.containerd);
    if tasks.iter().any(has_containerd) {
        runtimes::ensure()?;
    }
    for (row, column, cell) in boot_all(&host, args, &tasks, counts) {
        matrix.add(row, column, cell);
    }
    if matrix.is_empty() {
        bail!("nothing is called that");
    }
    Ok(matrix)
}

/// What is done with one kernel.
struct Task<'a> {
    kernel: &'a Kernel,
    /// Of the matrix.
    row: usize,
    work: Work,
}

enum Work {
    /// Boots one machine.
    Jobs(&'static Boot, Vec<Job>),
    /// Boots so many, which are lost.
    Losses(usize),
}

/// What one task has come to: by column.
type Cells = Vec<(&'static str, Cell)>;

/// Boots machines, one for each of the host's processors at a time, and gives their cells in the order of the tasks.
fn boot_all(
    host: &Host,
    args: &Args,
    tasks: &[Task<'_>],
    counts: &mut Counts,
) -> Vec<(usize, &'static str, Cell)> {
    let left = Mutex::new(tasks.iter().enumerate());
    let counts = Mutex::new(counts);
    let done: Mutex<Vec<Cells>> = Mutex::new(tasks.iter().map(|_| Vec::new()).collect());
    let work = || {
        loop {
            let next = locked(&left).next();
            let Some((number, task)) = next else { break };
            let told = |column, name: &str, cell: Cell| {
                tell(task.kernel, name, &cell, &mut locked(&counts));
                locked(&done)[number].push((column, cell));
            };
            match &task.work {
                Work::Jobs(boot, jobs) => {
                    let told = |job: &Job, cell| told(job.column, &job.name(), cell);
                    run_jobs(host, args, task.kernel, boot, jobs, told);
                }
                Work::Losses(count) => told(LOST, LOST, losses::lose(host, task.kernel, *count)),
            }
        }
    };
    let at_once = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..at_once.min(tasks.len()) {
            scope.spawn(work);
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let cells = tasks.iter().zip(done).flat_map(|(task, cells)| {
        let of_row = move |(column, cell)| (task.row, column, cell);
        cells.into_iter().map(of_row)
    });
    cells.collect()
}

/// What others share, one at a time.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Boots one machine and gives each job's cell as it comes; those that the machine was lost before, too.
fn run_jobs(
    host: &Host,
    args: &Args,
    kernel: &Kernel,
    boot: &Boot,
    jobs: &[Job],
    told: impl Fn(&Job, Cell),
) {
    let patience = args
        .patience
        .unwrap_or(match host.acceleration(kernel, boot.containerd) {
            Acceleration::Kvm => 1,
            Acceleration::Emulation | Acceleration::Counting => EMULATED,
        });
    let lines = jobs.iter().enumerate();
    let lines = lines.map(|(number, job)| job.line(number, &args.scenarios, patience));
    let start = boot.containerd.then(|| containerd::START.to_owned());
    let plan: String = [boot.layout.to_owned()]
        .into_iter()
        .chain(start)
        .chain(lines)
        .map(|line| line + "\n")
        .collect();
    let shape = Shape {
        name: boot.name,
        cpus: boot.cpus,
        parameters: boot.parameters,
        containerd: boot.containerd,
        patience: PATIENCE,
    };
    let mut left = jobs.iter();
    let heard = host.boot(kernel, &shape, &plan, |ran| {
        let job = left
            .next()
            .with_context(|| format!("the machine did more than it was told: {}", ran.name))?;
        told(job, job.judge(&ran));
        Ok(())
    });
    if let Err(error) = heard {
        // What was heard before the machine was lost stands; the rest of its jobs are lost with it, or the last of them.
        let error = format!("{error:#}");
        let mut left: Vec<_> = left.collect();
        left.extend(jobs.last().filter(|_| left.is_empty()));
        for job in left {
            told(job, Cell::lost(&error));
        }
    }
}

/// A line for the reader who waits, as `cargo test` would have it.
fn tell(kernel: &Kernel, name: &str, cell: &Cell, counts: &mut Counts) {
    let test = format!("vm {} {name}", kernel.name);
    let (passed, all) = (cell.passed, cell.all);
    if cell.is_good() {
        counts.passed += 1;
        eprintln!("test {test} ... ok ({passed} of {all})");
    } else {
        counts.failed += 1;
        eprintln!("test {test} ... FAILED ({passed} of {all})");
        counts.failures.push(test);
    }
    for trouble in &cell.troubles {
        eprintln!("        {trouble}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kernel_is_said_with_those_there_are() {
        let error = chosen(&["4.19".into()]).expect_err("nobody supports it");
        assert!(
            error
                .to_string()
                .contains("5.10, 6.1, 6.12, newest, 6.1-arm64"),
            "{error}"
        );
    }
}
