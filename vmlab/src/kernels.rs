//! Kernels as Debian ships them. They are not installed: only the image and a few modules of each
//! package are kept.

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

/// A kernel to check pause-trace on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// The Debian suite that it is from.
    suite: &'static str,
    pub(crate) arch: Arch,
    /// Whether it preempts eBPF programs at tracepoints. While a program is preempted, the kernel
    /// does not run it again on that CPU, and records are missing. An emulated machine with the
    /// host's clock needs a third of a tick for one program, so this is frequent.
    pub(crate) is_preemptible: bool,
    /// The modules that a container runtime needs, in the order in which they are loaded: paths
    /// below the directory of modules.
    modules: &'static [&'static str],
}

/// From the oldest kernel that pause-trace supports to the newest one that Debian builds for a
/// stable release.
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
    /// The image to boot.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory().join("vmlinuz")
    }

    /// The package that it is from, and the version of that package.
    pub(crate) fn package(&self) -> Result<String> {
        let file = self.directory().join("package");
        fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))
    }

    /// The files of its modules, in the order in which they are loaded.
    pub(crate) fn modules(&self) -> impl Iterator<Item = PathBuf> {
        let directory = self.directory().join("modules");
        let names = self
            .modules
            .iter()
            .filter_map(|module| Path::new(module).file_name());
        names.map(move |name| directory.join(name))
    }

    /// Whether the image, and the modules if they are needed, are in the cache. An older checkout
    /// may have kept fewer modules.
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

/// Downloads those of `kernels` that are missing, or whose modules are missing if `modules` is set.
/// If none is, no network is needed.
pub(crate) fn ensure(kernels: &[&Kernel], modules: bool) -> Result<()> {
    let is_missing = |kernel: &&&Kernel| !kernel.is_there(modules);
    if !kernels.iter().any(|kernel| is_missing(&kernel)) {
        return Ok(());
    }
    let root = root();
    let _alone = debian::lock(&root)?;
    // Another checkout may have downloaded some while this one waited for the lock.
    let missing: Vec<_> = kernels.iter().filter(is_missing).collect();
    eprintln!(
        "virtual machines boot Debian's kernels; these are unpacked below {}, and nothing is installed",
        root.display()
    );
    for kernel in &missing {
        let package = kernel.arch.kernel_package();
        eprintln!("  {}: {package} of Debian {}", kernel.name, kernel.suite);
    }
    eprintln!(
        "by hand: `apt-get download` the kernel that such a package depends on, and put its vmlinuz there"
    );
    for kernel in missing {
        fetch(kernel, &root.join("unfinished"))?;
    }
    Ok(())
}

/// Makes the directory of a kernel. It is made elsewhere and renamed, so that it is complete or
/// missing.
fn fetch(kernel: &Kernel, unfinished: &Path) -> Result<()> {
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

/// Moves the kernel's modules from the packages that are unpacked below `root` to `place`.
fn keep_modules(kernel: &Kernel, root: &Path, place: &Path) -> io::Result<()> {
    for module in kernel.modules {
        let mut releases = fs::read_dir(root.join("lib/modules"))?;
        let release = releases.next().ok_or(io::ErrorKind::NotFound)??.path();
        let name = Path::new(module).file_name().unwrap_or_default();
        fs::rename(release.join(module), place.join(name))?;
    }
    Ok(())
}

/// The only image below `root`: `boot/vmlinuz-RELEASE`, or `usr/lib/modules/RELEASE/vmlinuz` since
/// 7.1.
fn find_image(root: &Path) -> Result<PathBuf> {
    let mut images = files(&root.join("boot"), "").unwrap_or_default();
    images.retain(|file| file.to_string_lossy().contains("/boot/vmlinuz-"));
    let releases = files(&root.join("usr/lib/modules"), "").unwrap_or_default();
    images.extend(releases.into_iter().map(|release| release.join("vmlinuz")));
    images.retain(|file| file.is_file());
    match images.len() {
        1 => Ok(images.remove(0)),
        number => bail!(
            "found {number} kernels instead of one below {}",
            root.display()
        ),
    }
}

/// The package that holds the image. Since 7.1, linux-image only depends on that package.
fn package_of(suite: &Suite, all: &str) -> Result<String> {
    let depends = |package: &str, on: &str| -> Result<Option<String>> {
        let names = suite.dependencies(package)?;
        Ok(names.into_iter().find(|name| name.starts_with(on)))
    };
    let image = depends(all, "linux-image-")?
        .with_context(|| format!("failed to find the kernel that {all} depends on"))?;
    Ok(depends(&image, "linux-binary-")?.unwrap_or(image))
}
