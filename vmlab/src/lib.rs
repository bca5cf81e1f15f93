//! Boots the kernels of distributions in virtual machines and checks the same build of pause-trace
//! on each.
//!
//! Each machine boots a kernel with an initramfs and nothing else, does what its plan says, and
//! powers off. The lab does not build what a machine runs: its caller provides that as
//! [`Supplies`].

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
    env,
    num::NonZero,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use xtask_support::exit::CannotRun;

pub use arch::Arch;
use host::{Host, Shape};
use judge::Cell;
use kernels::{KERNELS, Kernel};
pub use matrix::Matrix;
use plan::{Boot, Job};
use qemu::{Acceleration, Patience};

/// Which machines are booted, and what they do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Boots only these kernels; empty for all.
    pub kernels: Vec<String>,
    /// Plays only these scenarios of the reference check, where scenarios are played; empty for
    /// those of the plan.
    pub scenarios: Vec<String>,
    /// Boots three kernels once each, and does a little of everything.
    pub fast: bool,
    /// How many times longer than on hardware the check waits; `None` to choose by whether the
    /// processor is emulated.
    pub patience: Option<u32>,
    /// Does only the columns whose names contain one of these; empty for all.
    pub filters: Vec<String>,
}

impl Options {
    /// Whether everything is run, on every kernel.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.kernels.is_empty()
            && self.scenarios.is_empty()
            && self.filters.is_empty()
            && !self.fast
    }
}

/// What the lab needs and does not make itself.
pub trait Supplies {
    /// Builds packages of the workspace for a processor, and returns the directory that their
    /// programs are in.
    ///
    /// # Errors
    /// When a package does not build.
    fn programs(&self, arch: Arch, packages: &[&str]) -> Result<PathBuf>;

    /// Unpacks the container runtimes that are named in [`xtask_support::places`], if they are
    /// missing.
    ///
    /// # Errors
    /// When they cannot be fetched.
    fn runtimes(&self) -> Result<()>;
}

/// The results of all jobs.
#[derive(Debug, Default)]
pub struct Checked {
    /// The results as a table.
    pub matrix: Matrix,
    /// The number of jobs that passed.
    pub passed: usize,
    /// The names of the jobs that failed.
    pub failures: Vec<String>,
}

/// Measured in emulation on a busy host: a boot with every scenario takes five minutes. In two of
/// these, while ten thousand orphans are reaped, the machine prints nothing.
const PATIENCE: Patience = Patience {
    whole: Duration::from_secs(20 * 60),
    silence: Duration::from_secs(6 * 60),
};

/// How many times longer than on hardware the check waits on an emulated processor
/// (`pause-trace check --patience`).
const EMULATED: u32 = 10;

/// The column of machines that are lost on purpose.
const LOST: &str = "lost";

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
            .ok_or_else(|| anyhow!("no kernel is called `{name}`; the kernels are {known}"))
    };
    names.iter().map(find).collect()
}

/// Boots the machines that `options` select, and reports each job on stderr when it ends, as
/// `cargo test` reports a test.
///
/// # Errors
/// When no machine can be booted. A machine that is lost is a job that failed, not an error.
pub fn check(options: &Options, supplies: &dyn Supplies) -> Result<Checked> {
    if env::consts::ARCH != "x86_64" {
        bail!(CannotRun(
            "the virtual machines are x86_64, and run the programs that are built here".into()
        ));
    }
    let boots = if options.fast {
        plan::FAST
    } else {
        plan::WHOLE
    };
    let is_booted = |kernel: &Kernel, boot: &Boot| {
        let is_every = boot.kernels.is_empty() && kernel.arch.is_native();
        is_every || boot.kernels.contains(&kernel.name)
    };
    let is_wanted = |column: &str| {
        options.filters.is_empty()
            || options
                .filters
                .iter()
                .any(|filter| column.contains(&**filter))
    };
    let mut kernels = chosen(&options.kernels)?;
    kernels.retain(|kernel| boots.iter().any(|boot| is_booted(kernel, boot)));
    kernels::ensure(&kernels, boots.iter().any(|boot| boot.containerd))?;
    let host = Host::prepare(&kernels, supplies)?;
    let mut checked = Checked::default();
    let mut tasks = Vec::new();
    for kernel in &kernels {
        checked.matrix.begin(kernel.name, kernel.package()?);
    }
    for boot in boots {
        let booted = kernels.iter().enumerate();
        for (row, kernel) in booted.filter(|(_, kernel)| is_booted(kernel, boot)) {
            let jobs = boot.jobs.iter().filter(|job| is_wanted(job.column));
            let work = Work::Jobs(boot, jobs.copied().collect());
            tasks.push(Task { kernel, row, work });
        }
    }
    // How a lost machine looks from outside does not depend on its kernel: one kernel is enough.
    if let Some(kernel) = kernels.last().filter(|_| is_wanted(LOST)) {
        let count = if options.fast {
            losses::FEW
        } else {
            usize::MAX
        };
        let (row, work) = (kernels.len() - 1, Work::Losses(count));
        tasks.push(Task { kernel, row, work });
    }
    tasks.retain(|task| !matches!(&task.work, Work::Jobs(_, jobs) if jobs.is_empty()));
    let has_containerd =
        |task: &Task<'_>| matches!(task.work, Work::Jobs(boot, _) if boot.containerd);
    if tasks.iter().any(has_containerd) {
        supplies.runtimes()?;
    }
    for (row, column, cell) in boot_all(&host, options, &tasks, &mut checked) {
        checked.matrix.add(row, column, cell);
    }
    if checked.matrix.is_empty() {
        bail!("no job matches the selection");
    }
    Ok(checked)
}

/// The work on one machine, or on several that are lost, with one kernel.
struct Task<'a> {
    kernel: &'a Kernel,
    /// The row of the matrix that the results go to.
    row: usize,
    work: Work,
}

enum Work {
    /// Boots one machine.
    Jobs(&'static Boot, Vec<Job>),
    /// Boots this many machines, each of which is lost in another way.
    Losses(usize),
}

/// The results of one task, each with its column.
type Cells = Vec<(&'static str, Cell)>;

/// Boots machines, one for each of the host's processors at a time, and returns their cells in the
/// order of the tasks.
fn boot_all(
    host: &Host,
    options: &Options,
    tasks: &[Task<'_>],
    checked: &mut Checked,
) -> Vec<(usize, &'static str, Cell)> {
    let left = Mutex::new(tasks.iter().enumerate());
    let checked = Mutex::new(checked);
    let done: Mutex<Vec<Cells>> = Mutex::new(tasks.iter().map(|_| Vec::new()).collect());
    let work = || {
        loop {
            let next = locked(&left).next();
            let Some((number, task)) = next else { break };
            let add = |column, name: &str, cell: Cell| {
                report(task.kernel, name, &cell, &mut locked(&checked));
                locked(&done)[number].push((column, cell));
            };
            match &task.work {
                Work::Jobs(boot, jobs) => {
                    let add = |job: &Job, cell| add(job.column, &job.name(), cell);
                    run_jobs(host, options, task.kernel, boot, jobs, add);
                }
                Work::Losses(count) => add(LOST, LOST, losses::lose(host, task.kernel, *count)),
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

/// Locks a value; a thread that panicked while it held the lock left nothing half-done.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Boots one machine, and passes the cell of each job to `add` when the job ends. If the machine is
/// lost, the jobs that are left are lost with it.
fn run_jobs(
    host: &Host,
    options: &Options,
    kernel: &Kernel,
    boot: &Boot,
    jobs: &[Job],
    add: impl Fn(&Job, Cell),
) {
    let patience = options
        .patience
        .unwrap_or(match host.acceleration(kernel, boot.containerd) {
            Acceleration::Kvm => 1,
            Acceleration::Emulation | Acceleration::Counting => EMULATED,
        });
    let lines = jobs.iter().enumerate();
    let lines = lines.map(|(number, job)| job.line(number, &options.scenarios, patience));
    let start = boot.containerd.then(|| containerd::START.to_owned());
    let clock = boot.clock_steps.then(|| plan::CLOCK_STEPS.to_owned());
    let plan: String = [boot.layout.to_owned()]
        .into_iter()
        .chain(start)
        .chain(clock)
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
    let result = host.boot(kernel, &shape, &plan, |ran| {
        let job = left.next().with_context(|| {
            format!(
                "the machine ran more programs than its plan has: {}",
                ran.name
            )
        })?;
        add(job, job.judge(&ran));
        Ok(())
    });
    if let Err(error) = result {
        // Results from before the loss stay. If every job has a result, the last one fails, so that
        // the loss is reported.
        let error = format!("{error:#}");
        let mut left: Vec<_> = left.collect();
        left.extend(jobs.last().filter(|_| left.is_empty()));
        for job in left {
            add(job, Cell::lost(&error));
        }
    }
}

/// Prints the result of a job, as `cargo test` prints that of a test, and counts it.
fn report(kernel: &Kernel, name: &str, cell: &Cell, checked: &mut Checked) {
    let test = format!("vm {} {name}", kernel.name);
    let (passed, all) = (cell.passed, cell.all);
    if cell.is_good() {
        checked.passed += 1;
        eprintln!("test {test} ... ok ({passed} of {all})");
    } else {
        eprintln!("test {test} ... FAILED ({passed} of {all})");
        checked.failures.push(test);
    }
    for trouble in &cell.troubles {
        eprintln!("        {trouble}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_for_an_unknown_kernel_lists_the_known_ones() {
        let error = chosen(&["4.19".into()]).expect_err("4.19 is not in the table");
        assert!(
            error
                .to_string()
                .contains("5.10, 6.1, 6.12, newest, 6.1-arm64"),
            "{error}"
        );
    }
}
