//! Static programs of the workspace. They run on every distribution, alone in an image, and in an
//! initramfs without libraries. A release has them, and `cargo xtask test` tests them.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use xtask_support::{cargo, progress};

use crate::cross;

/// Names the program that the tests run, instead of `target/release/pause-trace`.
pub(crate) const TESTED: &str = "TESTED_PROGRAM";

/// A processor that programs are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Architecture {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

impl Architecture {
    /// The name in the kernel's terms.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => cross::TARGET,
        }
    }

    /// That of this machine.
    pub(crate) fn own() -> Self {
        match env::consts::ARCH {
            "aarch64" => Self::Aarch64,
            _ => Self::X86_64,
        }
    }
}

/// Where programs are built from, and where to.
pub(crate) struct Place {
    pub(crate) sources: PathBuf,
    pub(crate) target: PathBuf,
}

impl Place {
    /// The checkout and its target directory.
    pub(crate) fn of_checkout() -> Result<Self> {
        Ok(Self {
            sources: cargo::workspace(),
            target: cargo::target_dir()?,
        })
    }

    /// The directory of the programs for a processor.
    pub(crate) fn programs(&self, architecture: Architecture) -> PathBuf {
        self.target.join(architecture.target()).join("release")
    }

    /// Makes a command of cargo work here.
    pub(crate) fn prepare(&self, command: &mut Command) {
        command
            .current_dir(&self.sources)
            .env_remove("LD_LIBRARY_PATH")
            .env("CARGO_TARGET_DIR", &self.target);
    }

    /// Builds a package. No path of the machine is in its programs.
    pub(crate) fn build(&self, package: &str, architecture: Architecture) -> Result<()> {
        let mut build = cargo::cargo();
        self.prepare(&mut build);
        build
            .args(["build", "--release", "--locked", "--package", package])
            .args(["--target", architecture.target()]);
        if architecture != Architecture::own() {
            cross::configure(&mut build)?;
        }
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.unwrap_or_else(|| env::home_dir().unwrap_or_default().join(".cargo"));
        let remap =
            |directory: &Path, to| format!("--remap-path-prefix={}={to}", directory.display());
        let flags = [
            "-Ctarget-feature=+crt-static".to_owned(),
            remap(&self.sources, "."),
            remap(&home, "/cargo"),
            remap(&self.target, "target"),
        ];
        // The separator of this variable, which takes precedence over any configuration.
        build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        let title = format!("building {package}, static, for {}", architecture.name());
        let log = format!("build-{package}-{}", architecture.name());
        progress::run(&title, &log, &mut build)
    }
}

/// The path of the static pause-trace of this checkout, whether it is built or not.
pub(crate) fn path() -> Result<PathBuf> {
    let programs = Place::of_checkout()?.programs(Architecture::own());
    Ok(programs.join("pause-trace"))
}
