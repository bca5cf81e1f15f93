//! The processors of the machines, and what differs between them.

use std::{env::consts, process::Command};

use anyhow::Result;

use xtask_support::{
    bundle::{self, Bundle, Extent},
    debian::Origin,
};

/// The emulators are unpacked, so that every host uses the same version, whatever it has installed.
const EMULATORS: [Bundle; 2] = [
    Bundle {
        name: "qemu-x86",
        origin: Origin::main("bookworm"),
        packages: &["qemu-system-x86"],
        extent: Extent::Dependencies,
        version: "",
        programs: &[("usr/bin/qemu-system-x86_64", "--version")],
        build: None,
    },
    Bundle {
        name: "qemu-arm",
        origin: Origin::main("bookworm"),
        packages: &["qemu-system-arm"],
        extent: Extent::Dependencies,
        version: "",
        programs: &[("usr/bin/qemu-system-aarch64", "--version")],
        build: None,
    },
];

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// Debian's amd64.
    X86_64,
    /// Debian's arm64.
    Aarch64,
}

impl Arch {
    /// Whether this host has it.
    #[must_use]
    pub fn is_native(self) -> bool {
        let name = match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        };
        consts::ARCH == name
    }

    /// Debian's name for it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The package that depends on a suite's kernel for virtual machines. That kernel has fewer
    /// drivers and is otherwise the usual one.
    pub(crate) fn kernel_package(self) -> &'static str {
        match self {
            Self::X86_64 => "linux-image-cloud-amd64",
            Self::Aarch64 => "linux-image-cloud-arm64",
        }
    }

    /// The package of the emulator, with its dependencies.
    #[must_use]
    pub fn emulator_bundle(self) -> &'static Bundle {
        match self {
            Self::X86_64 => &EMULATORS[0],
            Self::Aarch64 => &EMULATORS[1],
        }
    }

    /// The command of the emulator, without arguments.
    pub(crate) fn emulator(self) -> Command {
        let bundle = self.emulator_bundle();
        bundle.command(bundle.programs[0].0)
    }

    /// Unpacks the emulator, if it is missing.
    ///
    /// # Errors
    /// When its packages cannot be fetched.
    pub fn ensure_emulator(self) -> Result<()> {
        bundle::ensure(
            &[self.emulator_bundle()],
            "booting kernels needs a machine emulator",
        )
    }

    /// The emulator's arguments for the processor, if it is emulated.
    pub(crate) fn emulated(self) -> &'static [&'static str] {
        match self {
            // Without cmpxchg16b, which the kernel's allocator uses if the processor has it: QEMU
            // 7.2 emulates its flags wrongly, and Linux 6.12 sometimes had a double fault in
            // `__kmalloc_noprof` before its first process.
            Self::X86_64 => &["-cpu", "max,-cx16"],
            // Not `max`: it has pointer authentication, and emulating that takes most of the time.
            Self::Aarch64 => &["-cpu", "cortex-a72"],
        }
    }

    /// The emulator's arguments for the rest of the machine. The first serial port is the console.
    /// The second one is for results; the guest knows its name (guest/src/main.rs).
    pub(crate) fn board(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &["-serial", "file:/dev/stderr", "-serial", "stdio"],
            Self::Aarch64 => &[
                "-machine",
                "virt",
                "-serial",
                "file:/dev/stderr",
                "-chardev",
                "stdio,id=results",
                "-device",
                "pci-serial,chardev=results",
            ],
        }
    }

    /// The kernel's name for the first serial port.
    pub(crate) fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }
}
