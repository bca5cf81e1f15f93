//! The host's side of a machine: what it brings, and what it hears.

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

/// A kernel that works shows that acceleration does; where it does not, a machine hangs.
const PROBE: Patience = Patience {
    whole: Duration::from_secs(5),
    silence: Duration::from_secs(5),
};

/// What a machine without a container runtime has; in MiB.
const MEMORY: u32 = 1024;

/// What a machine looks like from outside.
pub(crate) struct Shape<'a> {
    pub(crate) name: &'a str,
    pub(crate) cpus: u32,
    /// Kernel parameters.
    pub(crate) parameters: &'a str,
    /// Is there a container runtime in it?
    pub(crate) containerd: bool,
    pub(crate) patience: Patience,
}

/// What the host brings into each machine.
pub(crate) struct Host {
    /// The first process and the program, by what they run on.
    programs: BTreeMap<Arch, [PathBuf; 2]>,
    /// For archives and logs.
    directory: PathBuf,
    /// Of machines with this one's processor.
    acceleration: Acceleration,
}

/// What machines run.
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

    /// How machines that boot this kernel are run, with a container runtime or without.
    pub(crate) fn acceleration(&self, kernel: &Kernel, containerd: bool) -> Acceleration {
        match self.acceleration {
            Acceleration::Kvm if kernel.arch.is_native() => Acceleration::Kvm,
            // A slow one's shims and runtimes give each other up after seconds.
            _ if kernel.is_preemptible || containerd => Acceleration::Counting,
            _ => Acceleration::Emulation,
        }
    }

    /// Whether the processor itself boots a machine: that the device is there says little.
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
            eprintln!("emulating the processor: with /dev/kvm, {why}");
        }
        probed.is_ok()
    }

    /// Boots one machine; `told` hears of each program when it has ended.
    ///
    /// # Errors
    /// When the machine is lost, and when it does not say that it is done, once.
    pub(crate) fn boot(
        &self,
        kernel: &Kernel,
        shape: &Shape<'_>,
        plan: &str,
        mut told: impl FnMut(Ran) -> Result<()>,
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
            match transcript.hear(line)? {
                Some(ran) => told(ran),
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
