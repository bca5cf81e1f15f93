//! The host's side of a machine: builds the initramfs, boots, and reads the results.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use xtask_support::cargo;

use crate::{
    Supplies,
    arch::Arch,
    containerd,
    guest::{Ran, Transcript},
    initramfs::Initramfs,
    kernels::Kernel,
    plan::PROGRAM,
    qemu::{self, Acceleration, Machine, Patience},
};

/// The time limits of the boot that shows whether KVM works. If it does not, the machine hangs.
const PROBE: Patience = Patience {
    whole: Duration::from_secs(5),
    silence: Duration::from_secs(5),
};

/// The memory of a machine without a container runtime, in MiB.
const MEMORY: u32 = 1024;

/// The hardware of a machine, and its time limits.
pub(crate) struct Shape<'a> {
    pub(crate) name: &'a str,
    pub(crate) cpus: u32,
    /// Kernel parameters.
    pub(crate) parameters: &'a str,
    /// Whether it runs a container runtime.
    pub(crate) containerd: bool,
    pub(crate) patience: Patience,
}

/// What the host provides to each machine.
pub(crate) struct Host {
    /// The first process and pause-trace, for each processor.
    programs: BTreeMap<Arch, [PathBuf; 2]>,
    /// The directory of archives and logs.
    directory: PathBuf,
    /// The acceleration of machines with the host's processor.
    acceleration: Acceleration,
}

/// The packages that machines run.
const PACKAGES: [&str; 2] = ["guest", "pause-trace"];

impl Host {
    /// Builds what machines run, and boots one of `kernels` to learn whether KVM works.
    pub(crate) fn prepare(kernels: &[&Kernel], supplies: &dyn Supplies) -> Result<Self> {
        let directory = cargo::target_dir()?.join("vm");
        fs::create_dir_all(&directory)
            .with_context(|| format!("failed to make {}", directory.display()))?;
        let archs: BTreeSet<_> = kernels.iter().map(|kernel| kernel.arch).collect();
        let mut programs = BTreeMap::new();
        for arch in archs {
            arch.ensure_emulator()?;
            let built = supplies.programs(arch, &PACKAGES)?;
            programs.insert(arch, PACKAGES.map(|name| built.join(name)));
        }
        let mut host = Self {
            programs,
            directory,
            acceleration: Acceleration::Emulation,
        };
        if let Some(kernel) = kernels.iter().find(|kernel| kernel.arch.is_native())
            && host.has_kvm(kernel)
        {
            host.acceleration = Acceleration::Kvm;
        }
        Ok(host)
    }

    /// The acceleration of machines that boot this kernel, with a container runtime or without.
    pub(crate) fn acceleration(&self, kernel: &Kernel, containerd: bool) -> Acceleration {
        match self.acceleration {
            Acceleration::Kvm if kernel.arch.is_native() => Acceleration::Kvm,
            // In a slow machine, shims and runtimes give up waiting for each other after seconds.
            _ if kernel.is_preemptible || containerd => Acceleration::Counting,
            _ => Acceleration::Emulation,
        }
    }

    /// Whether a machine boots with KVM. That `/dev/kvm` exists does not prove it.
    fn has_kvm(&mut self, kernel: &Kernel) -> bool {
        let device = File::options().read(true).write(true).open("/dev/kvm");
        if device.is_err() {
            return false;
        }
        let shape = Shape {
            name: "probe",
            cpus: 1,
            parameters: "",
            containerd: false,
            patience: PROBE,
        };
        self.acceleration = Acceleration::Kvm;
        let probed = self.boot(kernel, &shape, "v2\n", |_| Ok(()));
        self.acceleration = Acceleration::Emulation;
        if let Err(error) = &probed {
            let error = error.to_string();
            let why = error.lines().next().unwrap_or_default();
            eprintln!(
                "emulating the processor, because a machine does not boot with /dev/kvm: {why}"
            );
        }
        probed.is_ok()
    }

    /// Boots one machine, and calls `ended` with each program that ended.
    ///
    /// # Errors
    /// When the machine is lost, or does not print its last line exactly once.
    pub(crate) fn boot(
        &self,
        kernel: &Kernel,
        shape: &Shape<'_>,
        plan: &str,
        mut ended: impl FnMut(Ran) -> Result<()>,
    ) -> Result<()> {
        let name = format!("{}-{}", kernel.name, shape.name);
        let machine = Machine {
            kernel: &kernel.image(),
            arch: kernel.arch,
            initramfs: &self.archive(&name, plan, kernel, shape)?,
            memory: match shape.containerd {
                true => containerd::MEMORY,
                false => MEMORY,
            },
            cpus: shape.cpus,
            parameters: shape.parameters,
            acceleration: self.acceleration(kernel, shape.containerd),
            log: self.directory.join(format!("{name}.log")),
            results: self.directory.join(format!("{name}.json")),
        };
        let mut transcript = Transcript::default();
        qemu::run(&machine, shape.patience, |line| {
            match transcript.read(line)? {
                Some(ran) => ended(ran),
                None => Ok(()),
            }
        })?;
        transcript.finish()
    }

    /// Writes an initramfs with this plan.
    fn archive(
        &self,
        name: &str,
        plan: &str,
        kernel: &Kernel,
        shape: &Shape<'_>,
    ) -> Result<PathBuf> {
        let mut archive = Initramfs::default();
        let [init, program] = &self.programs[&kernel.arch];
        archive.add_program("/init", init)?;
        archive.add_program(PROGRAM, program)?;
        archive.add_file(Path::new("/plan"), plan.as_bytes());
        if shape.containerd {
            containerd::add_to(&mut archive, kernel)?;
        }
        let file = self.directory.join(format!("{name}.cpio"));
        fs::write(&file, archive.finish())
            .with_context(|| format!("failed to write {}", file.display()))?;
        Ok(file)
    }
}
