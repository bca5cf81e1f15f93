//! Kernels as Debian ships them, without installing them: of each package only the image is kept, and a few modules.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use xtask_support::{
    cache_dir,
    debian::{self, Origin, Suite, files},
};

use crate::arch::Arch;

/// A kernel that is checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// The suite of Debian that it is taken from.
    suite: &'static str,
    pub(crate) arch: Arch,
    /// Whether it preempts eBPF programs at tracepoints, and runs none of them twice on a CPU then. With the host's clock an emulated
    /// one takes a third of the time between two ticks for a program, and leaves out many.
    pub(crate) is_preemptible: bool,
    /// What a container runtime needs of it that is not built in, in the order in which it is loaded: files below its
    /// modules.
    modules: &'static [&'static str],
}

/// From the oldest that pause-trace supports to the newest that Debian builds for a stable release.
pub(crate) const KERNELS: [Kernel; 5] = [
    Kernel {
        name: "5.10",
        suite: "bullseye",
        arch: Arch::X86_64,
        is_preemptible: false,
        modules: &[],
    },
    Kernel {
        name: "6.1",
        suite: "bookworm",
        arch: Arch::X86_64,
        is_preemptible: false,
        modules: &[
            "kernel/net/llc/llc.ko",
            "kernel/net/802/stp.ko",
            "kernel/net/bridge/bridge.ko",
            "kernel/drivers/net/veth.ko",
            "kernel/fs/overlayfs/overlay.ko",
        ],
    },
    Kernel {
        name: "6.12",
        suite: "trixie",
        arch: Arch::X86_64,
        is_preemptible: false,
        modules: &[],
    },
    Kernel {
        name: "newest",
        suite: "trixie-backports",
        arch: Arch::X86_64,
        is_preemptible: true,
        modules: &[],
    },
    Kernel {
        name: "6.1-arm64",
        suite: "bookworm",
        arch: Arch::Aarch64,
        is_preemptible: false,
        modules: &[],
    },
];

impl Kernel {
    /// What can be booted.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory().join("vmlinuz")
    }

    /// The package it was taken from, and its version.
    pub(crate) fn package(&self) -> Result<String> {
        let file = self.directory().join("package");
        fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))
    }

    /// The modules that were kept of it, in the order in which they are loaded.
    pub(crate) fn modules(&self) -> impl Iterator<Item = PathBuf> {
        let directory = self.directory().join("modules");
        let names = self
            .modules
            .iter()
            .filter_map(|module| Path::new(module).file_name());
        names.map(move |name| directory.join(name))
    }

    /// Whether what is wanted of it is there: an older checkout may have kept less.
    fn is_there(&self, modules: bool) -> bool {
        self.image().exists() && (!modules || self.modules().all(|module| module.exists()))
    }

    fn directory(&self) -> PathBuf {
        root().join(self.name)
    }
}

fn root() -> PathBuf {
    cache_dir().join("kernels")
}

/// Gets those of `kernels` that are missing, or miss their `modules` where these are wanted. Where none is, no network is needed.
pub(crate) fn ensure(kernels: &[&Kernel], modules: bool) -> Result<()> {
    let is_missing = |kernel: &&&Kernel| !kernel.is_there(modules);
    if !kernels.iter().any(|kernel| is_missing(&kernel)) {
        return Ok(());
    }
    let root = root();
    let _alone = debian::lock(&root)?;
    // Another checkout may have brought some while this one waited.
    let missing: Vec<_> = kernels.iter().filter(is_missing).collect();
    eprintln!(
        "virtual machines boot Debian's kernels: these are unpacked below {}, and nothing is installed",
        root.display()
    );
    for kernel in &missing {
        let package = kernel.arch.kernel_package();
        eprintln!("  {}: {package} of Debian {}", kernel.name, kernel.suite);
    }
    eprintln!(
        "by hand: `apt-get download` what such a package depends on, and put its vmlinuz there"
    );
    for kernel in missing {
        bring(kernel, &root.join("unfinished"))?;
    }
    Ok(())
}

/// Makes the directory of a kernel: beside its place first, so that what is in its place is whole.
fn bring(kernel: &Kernel, unfinished: &Path) -> Result<()> {
    let architecture = Some(kernel.arch.debian());
    let suite = Suite::open(
        Origin::main(kernel.suite),
        architecture,
        unfinished.join("apt"),
    )?;
    let package = package_of(&suite, kernel.arch.kernel_package())?;
    let unpacked = unfinished.join("unpacked");
    let versions = suite.unpack(&[&package], &unfinished.join("downloads"), &unpacked)?;
    let image = find_image(&unpacked).with_context(|| format!("failed to unpack {package}"))?;
    let version = versions.first().map_or("", |first| first.version.as_str());
    let finished = unfinished.join("finished");
    let place = kernel.directory();
    if place.exists() {
        fs::remove_dir_all(&place)
            .with_context(|| format!("failed to remove {}", place.display()))?;
    }
    fs::create_dir_all(finished.join("modules"))
        .and_then(|()| keep_modules(kernel, &unpacked, &finished.join("modules")))
        .and_then(|()| fs::rename(&image, finished.join("vmlinuz")))
        .and_then(|()| fs::write(finished.join("package"), format!("{package} {version}")))
        .and_then(|()| fs::rename(&finished, &place))
        .and_then(|()| fs::remove_dir_all(unfinished))
        .with_context(|| {
            format!(
                "failed to put Linux {} into {}",
                kernel.name,
                place.display()
            )
        })
}

/// Keeps the wanted ones of the modules that were unpacked below `root`.
fn keep_modules(kernel: &Kernel, root: &Path, place: &Path) -> io::Result<()> {
    for module in kernel.modules {
        let mut releases = fs::read_dir(root.join("lib/modules"))?;
        let release = releases.next().ok_or(io::ErrorKind::NotFound)??.path();
        let name = Path::new(module).file_name().unwrap_or_default();
        fs::rename(release.join(module), place.join(name))?;
    }
    Ok(())
}

/// The one image below `root`: `boot/vmlinuz-RELEASE`, since 7.1 `usr/lib/modules/RELEASE/vmlinuz`.
fn find_image(root: &Path) -> Result<PathBuf> {
    let mut images = files(&root.join("boot"), "").unwrap_or_default();
    images.retain(|file| file.to_string_lossy().contains("/boot/vmlinuz-"));
    let releases = files(&root.join("usr/lib/modules"), "").unwrap_or_default();
    images.extend(releases.into_iter().map(|release| release.join("vmlinuz")));
    images.retain(|file| file.is_file());
    match images.len() {
        1 => Ok(images.remove(0)),
        count => bail!(
            "there are {count} kernels below {}, and not one",
            root.display()
        ),
    }
}

/// The package that holds the image: since 7.1 no longer the one that the others depend on.
fn package_of(suite: &Suite, all: &str) -> Result<String> {
    let depends = |package: &str, on: &str| -> Result<Option<String>> {
        let names = suite.dependencies(package)?;
        Ok(names.into_iter().find(|name| name.starts_with(on)))
    };
    let image = depends(all, "linux-image-")?
        .with_context(|| format!("failed to find the kernel that {all} depends on"))?;
    Ok(depends(&image, "linux-binary-")?.unwrap_or(image))
}
