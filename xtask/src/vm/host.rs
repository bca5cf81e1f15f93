//! The host's side of a machine: what it brings, and what it hears.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use super::{
    guest::{Ran, Transcript},
    initramfs::Initramfs,
    kernels::Kernel,
    plan::PROGRAM,
    qemu::{self, Acceleration, Machine, Patience},
};
use crate::{cargo, progress};

/// A kernel that works shows that acceleration does; where it does not, a machine hangs.
const PROBE: Patience = Patience {
    whole: Duration::from_secs(5),
    silence: Duration::from_secs(5),
};

/// What a machine looks like from outside.
pub(crate) struct Shape<'a> {
    pub(crate) name: &'a str,
    pub(crate) cpus: u32,
    /// Kernel parameters.
    pub(crate) parameters: &'a str,
    pub(crate) patience: Patience,
}

/// What the host brings into each machine.
pub(crate) struct Host {
    init: PathBuf,
    program: PathBuf,
    /// For archives and logs.
    directory: PathBuf,
    pub(crate) acceleration: Acceleration,
}

impl Host {
    /// Builds what machines run, and tries on one of `kernels` how they are run.
    pub(crate) fn prepare(kernels: &[&Kernel]) -> Result<Self> {
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
        let mut host = Self {
            init: target.join("release/guest"),
            program: target.join("release/pause-trace"),
            directory,
            acceleration: Acceleration::Emulation,
        };
        if let [kernel, ..] = kernels
            && host.has_kvm(kernel)
        {
            host.acceleration = Acceleration::Kvm;
        }
        Ok(host)
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
            initramfs: &self.archive(&name, plan)?,
            cpus: shape.cpus,
            parameters: shape.parameters,
            acceleration: self.acceleration,
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
