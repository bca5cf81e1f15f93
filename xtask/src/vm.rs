//! `cargo xtask vm`: the same program on real kernels of distributions, in virtual machines.
//!
//! Each machine boots a kernel with an initramfs and nothing else, plays the reference check in it, and powers off.

mod guest;
mod initramfs;
mod kernels;
mod matrix;
mod qemu;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{cargo, exit::CannotRun, progress, toolchain};
use guest::{Check, Transcript};
use initramfs::Initramfs;
use kernels::{KERNELS, Kernel};
use matrix::{Cell, Matrix};
use qemu::{Acceleration, Machine, Patience};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Boot only these kernels: 5.10, 6.1, 6.12, newest
    #[arg(long = "kernel", value_name = "NAME", value_delimiter = ',')]
    kernels: Vec<String>,
    /// Play only these scenarios of the reference check
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',')]
    scenarios: Vec<String>,
    /// Play every scenario in emulation, too, where those that need many processes come late
    #[arg(long, conflicts_with = "scenarios")]
    all: bool,
    /// Run only the checks whose names contain one of these, such as `kprobe`
    #[arg(last = true)]
    filters: Vec<String>,
}

/// What is checked on each kernel, by what the machine has to look like.
struct Setting {
    /// Of cgroups: `v1` or `v2`, and nothing of the other.
    layout: &'static str,
    cpus: u32,
    /// Kernel parameters.
    parameters: &'static str,
    /// Names of checks, and how each sees setns and unshare; the best way where that is none.
    checks: &'static [(&'static str, Option<&'static str>)],
}

const SETTINGS: [Setting; 5] = [
    Setting {
        layout: "v2",
        cpus: 2,
        parameters: "",
        checks: &[
            ("fentry", Some("fentry")),
            ("kprobe", Some("kprobe")),
            ("tracepoint", Some("tracepoint")),
        ],
    },
    Setting {
        layout: "v1",
        cpus: 2,
        parameters: "",
        checks: &[("cgroup-v1", None)],
    },
    Setting {
        layout: "v2",
        cpus: 1,
        parameters: "",
        checks: &[("1-cpu", None)],
    },
    Setting {
        layout: "v2",
        cpus: 4,
        parameters: "",
        checks: &[("4-cpus", None)],
    },
    Setting {
        layout: "v2",
        cpus: 2,
        parameters: "lockdown=integrity",
        checks: &[("lockdown", None)],
    },
];

/// A kernel that works shows that acceleration does; where it does not, a machine hangs.
const PROBE: Patience = Patience {
    whole: Duration::from_secs(5),
    silence: Duration::from_secs(5),
};

/// Measured: every scenario takes 104 s in emulation on a busy machine.
const PATIENCE: Patience = Patience {
    whole: Duration::from_secs(15 * 60),
    silence: Duration::from_secs(3 * 60),
};

/// What is played in emulation: of each promise something, and nothing that starts processes by the hundred. The reference check
/// gives everything a second, and on a busy machine an emulated one needs more for those.
const EMULATED: [&str; 16] = [
    "pod-plain",
    "pod-shared-pid",
    "pod-host-pid",
    "pod-host-network",
    "pod-host-ipc",
    "pod-own-users",
    "pod-target",
    "localhost",
    "shared-memory",
    "message-queue",
    "container-restart",
    "pause-kill-takes-all",
    "pause-sigterm",
    "stop-handled",
    "stop-ignored",
    "orphans-of-session",
];

/// Runs what is asked for, prints the matrix, and keeps it where everything was run.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let kernels = chosen(&args.kernels)?;
    let is_wanted = |_: &Kernel, name: &str| {
        args.filters.is_empty() || args.filters.iter().any(|filter| name.contains(&**filter))
    };
    let scenarios = match (&*args.scenarios, args.all) {
        ([], true) => Scenarios::All,
        ([], false) => Scenarios::AsFastAsItIs,
        (names, _) => Scenarios::These(names.to_vec()),
    };
    let matrix = check(&kernels, &scenarios, is_wanted)?;
    print!("\n{}", matrix.text());
    let is_whole = args.kernels.is_empty() && args.scenarios.is_empty() && args.filters.is_empty();
    if is_whole {
        let file = cargo::workspace().join("docs/kernels.md");
        fs::write(&file, matrix.markdown())
            .with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(if matrix.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Which scenarios are played.
enum Scenarios {
    All,
    /// All that the machine is fast enough for.
    AsFastAsItIs,
    These(Vec<String>),
}

impl Scenarios {
    /// Their names; none for all.
    fn names(&self, acceleration: Acceleration) -> Vec<String> {
        match (self, acceleration) {
            (Self::These(names), _) => names.clone(),
            (Self::AsFastAsItIs, Acceleration::Emulation) => EMULATED.map(str::to_owned).to_vec(),
            (Self::All, _) | (Self::AsFastAsItIs, Acceleration::Kvm) => Vec::new(),
        }
    }
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

fn check(
    kernels: &[&'static Kernel],
    scenarios: &Scenarios,
    is_wanted: impl Fn(&Kernel, &str) -> bool,
) -> Result<Matrix> {
    if std::env::consts::ARCH != "x86_64" {
        bail!(CannotRun(
            "the virtual machines are x86_64, and run the programs that are built here".into()
        ));
    }
    qemu::ensure()?;
    kernels::ensure(kernels)?;
    toolchain::ensure()?;
    let host = Host::prepare()?;
    let acceleration = host.acceleration(kernels)?;
    let scenarios = scenarios.names(acceleration);
    let mut matrix = Matrix::default();
    for kernel in kernels {
        matrix.begin(kernel.name, kernel.package()?);
        for setting in &SETTINGS {
            let checks = setting.checks.iter().copied();
            let checks: Vec<_> = checks.filter(|(name, _)| is_wanted(kernel, name)).collect();
            if checks.is_empty() {
                continue;
            }
            let plan = plan(setting.layout, &checks, &scenarios);
            let heard = host.boot(kernel, setting, &plan, acceleration, |check| {
                let cell = Cell::of(check);
                eprintln!("{:<7} {:<11} {}", kernel.name, check.name, cell.words());
                for trouble in &cell.troubles {
                    eprintln!("        {trouble}");
                }
                matrix.add(&check.name, &check.kernel, cell);
            });
            if let Err(error) = heard {
                // What was heard before the machine was lost stands; the rest of its checks failed with it.
                let (names, text) = (checks.iter().map(|(name, _)| *name), format!("{error:#}"));
                eprintln!("{:<7} {text}", kernel.name);
                names.for_each(|name| matrix.add_lost(name, &text));
            }
        }
    }
    if matrix.is_empty() {
        bail!("no check is called that");
    }
    Ok(matrix)
}

/// What the guest is to do, as it reads it: the layout, then a check a line.
fn plan(layout: &str, checks: &[(&str, Option<&str>)], scenarios: &[String]) -> String {
    let mut plan = format!("{layout}\n");
    for (name, way) in checks {
        let mut words = vec![name, PROGRAM, "check", "--format", "json"];
        if let Some(way) = way {
            words.extend(["--namespace-hook", way]);
        }
        let scenarios = scenarios.join(",");
        if !scenarios.is_empty() {
            words.extend(["--scenario", &scenarios]);
        }
        plan += &(words.join("\t") + "\n");
    }
    plan
}

/// Where the guest finds the program under test.
const PROGRAM: &str = "/usr/bin/pause-trace";

/// What the host brings into each machine.
struct Host {
    init: PathBuf,
    program: PathBuf,
    /// For archives and logs.
    directory: PathBuf,
}

impl Host {
    fn prepare() -> Result<Self> {
        let mut build = cargo::cargo();
        build.args([
            "build",
            "--release",
            "--package",
            "pause-trace",
            "--package",
            "guest",
        ]);
        progress::run("building pause-trace", "vm-build", &mut build)?;
        let target = cargo::target_dir()?;
        let directory = target.join("vm");
        fs::create_dir_all(&directory)
            .with_context(|| format!("failed to make {}", directory.display()))?;
        Ok(Self {
            init: target.join("release/guest"),
            program: target.join("release/pause-trace"),
            directory,
        })
    }

    /// The processor's own support where it boots a machine, and emulation elsewhere: that the device is there says little.
    fn acceleration(&self, kernels: &[&Kernel]) -> Result<Acceleration> {
        let device = File::options().read(true).write(true).open("/dev/kvm");
        let (Ok(_), [kernel, ..]) = (device, kernels) else {
            return Ok(Acceleration::Emulation);
        };
        let mut transcript = Transcript::default();
        let machine = Machine {
            kernel: &kernel.image(),
            initramfs: &self.archive("probe", "v2\n")?,
            cpus: 1,
            parameters: "",
            acceleration: Acceleration::Kvm,
            log: self.directory.join("probe.log"),
        };
        let probed = qemu::run(&machine, PROBE, |line| transcript.hear(line).map(drop))
            .and_then(|()| transcript.finish());
        Ok(match probed {
            Ok(_) => Acceleration::Kvm,
            Err(error) => {
                let error = error.to_string();
                let why = error.lines().next().unwrap_or_default();
                eprintln!("emulating the processor: with /dev/kvm, {why}");
                Acceleration::Emulation
            }
        })
    }

    /// Boots one machine; `told` hears of each check when it is over.
    fn boot(
        &self,
        kernel: &Kernel,
        setting: &Setting,
        plan: &str,
        acceleration: Acceleration,
        mut told: impl FnMut(&Check),
    ) -> Result<()> {
        let name = format!("{}-{}", kernel.name, setting.checks[0].0);
        let machine = Machine {
            kernel: &kernel.image(),
            initramfs: &self.archive(&name, plan)?,
            cpus: setting.cpus,
            parameters: setting.parameters,
            acceleration,
            log: self.directory.join(format!("{name}.log")),
        };
        let mut transcript = Transcript::default();
        qemu::run(&machine, PATIENCE, |line| {
            if let Some(check) = transcript.hear(line)? {
                told(check);
            }
            Ok(())
        })?;
        transcript.finish().map(drop)
    }

    /// Writes an initramfs with this plan.
    fn archive(&self, name: &str, plan: &str) -> Result<PathBuf> {
        let mut archive = Initramfs::default();
        archive.add_program("/init", &self.init)?;
        archive.add_program(PROGRAM, &self.program)?;
        archive.add_file(Path::new("/plan"), plan.as_bytes());
        let file = self.directory.join(format!("{name}.cpio"));
        fs::write(&file, archive.finish())
            .with_context(|| format!("failed to write {}", file.display()))?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_what_the_guest_reads() {
        let scenarios = ["pod-plain", "localhost"].map(str::to_owned);
        let text = plan(
            "v2",
            &[("kprobe", Some("kprobe")), ("1-cpu", None)],
            &scenarios,
        );
        let expected = "v2\n\
            kprobe\t/usr/bin/pause-trace\tcheck\t--format\tjson\t--namespace-hook\tkprobe\t--scenario\tpod-plain,localhost\n\
            1-cpu\t/usr/bin/pause-trace\tcheck\t--format\tjson\t--scenario\tpod-plain,localhost\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_scenario_is_asked_for_by_naming_none() {
        let text = plan("v1", &[("cgroup-v1", None)], &[]);
        assert!(!text.contains("--scenario"), "{text}");
        assert!(Scenarios::AsFastAsItIs.names(Acceleration::Kvm).is_empty());
        assert!(
            !Scenarios::AsFastAsItIs
                .names(Acceleration::Emulation)
                .is_empty()
        );
    }

    #[test]
    fn an_unknown_kernel_is_said_with_those_there_are() {
        let error = chosen(&["4.19".into()]).expect_err("nobody supports it");
        assert!(
            error.to_string().contains("5.10, 6.1, 6.12, newest"),
            "{error}"
        );
    }
}
