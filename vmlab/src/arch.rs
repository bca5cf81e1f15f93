//! What differs between the processors that machines have.

use std::{env::consts, process::Command};

use anyhow::Result;

use xtask_support::{
    bundle::{self, Bundle, Extent},
    debian::Origin,
};

/// The same emulator on every machine, whichever else is installed there.
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
    /// amd64, in Debian's words.
    X86_64,
    /// arm64, in Debian's words.
    Aarch64,
}

impl Arch {
    /// Whether this machine has it.
    #[must_use]
    pub fn is_native(self) -> bool {
        let name = match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        };
        consts::ARCH == name
    }

    /// What Debian calls it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The package that depends on a suite's kernel for virtual machines: few drivers, and the same kernel otherwise.
    pub(crate) fn kernel_package(self) -> &'static str {
        match self {
            Self::X86_64 => "linux-image-cloud-amd64",
            Self::Aarch64 => "linux-image-cloud-arm64",
        }
    }

    /// The package that emulates a whole machine, and what it needs.
    #[must_use]
    pub fn emulator_bundle(self) -> &'static Bundle {
        match self {
            Self::X86_64 => &EMULATORS[0],
            Self::Aarch64 => &EMULATORS[1],
        }
    }

    /// The program that emulates a whole machine.
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
            "booting kernels takes an emulator of a whole machine",
        )
    }

    /// The emulator's arguments for a machine with this processor where that is emulated: the first serial port is for people, the
    /// second one, of which the guest knows the name (guest/src/main.rs), for results.
    pub(crate) fn emulated(self) -> &'static [&'static str] {
        match self {
            // Without cmpxchg16b, which the allocator uses where it is there: under QEMU 7.2 one left the flags in disorder, and
            // Linux 6.12 died of a double fault in `__kmalloc_noprof` now and then, before its first process.
            Self::X86_64 => &["-cpu", "max,-cx16"],
            // Of the newest one, emulating the signing of pointers takes most of the time.
            Self::Aarch64 => &["-cpu", "cortex-a72"],
        }
    }

    /// The machine around it.
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

    /// What the kernel calls the first serial port.
    pub(crate) fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }
}
