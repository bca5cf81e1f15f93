//! Kernels as Debian ships them, without installing them: of each package only the image is kept.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    debian::{self, Suite, files},
    toolchain::cache_dir,
};

/// A kernel that is checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// The suite of Debian that it is taken from.
    suite: &'static str,
}

/// From the oldest that pause-trace supports to the newest that Debian builds for a stable release.
pub(crate) const KERNELS: [Kernel; 4] = [
    Kernel {
        name: "5.10",
        suite: "bullseye",
    },
    Kernel {
        name: "6.1",
        suite: "bookworm",
    },
    Kernel {
        name: "6.12",
        suite: "trixie",
    },
    Kernel {
        name: "newest",
        suite: "trixie-backports",
    },
];

/// The package that depends on the suite's kernel for virtual machines: few drivers, and the same kernel otherwise.
const PACKAGE: &str = "linux-image-cloud-amd64";

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

    fn directory(&self) -> PathBuf {
        root().join(self.name)
    }
}

fn root() -> PathBuf {
    cache_dir().join("kernels")
}

/// Gets those of `kernels` that are missing. Where none is, no network is needed.
pub(crate) fn ensure(kernels: &[&Kernel]) -> Result<()> {
    let is_missing = |kernel: &&&Kernel| !kernel.directory().exists();
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
        eprintln!("  {}: {PACKAGE} of Debian {}", kernel.name, kernel.suite);
    }
    eprintln!(
        "by hand: `apt-get download` what that package depends on, and put its vmlinuz there"
    );
    for kernel in missing {
        bring(kernel, &root.join("unfinished"))?;
    }
    Ok(())
}

/// Makes the directory of a kernel: beside its place first, so that what is in its place is whole.
fn bring(kernel: &Kernel, unfinished: &Path) -> Result<()> {
    let suite = Suite::open(kernel.suite, unfinished.join("apt"))?;
    let package = package_of(&suite)?;
    let unpacked = unfinished.join("unpacked");
    let versions = suite.unpack(&[&package], &unfinished.join("downloads"), &unpacked)?;
    let image = find_image(&unpacked).with_context(|| format!("failed to unpack {package}"))?;
    let version = versions.first().map_or("", |first| first.version.as_str());
    let finished = unfinished.join("finished");
    let place = kernel.directory();
    fs::create_dir(&finished)
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
fn package_of(suite: &Suite) -> Result<String> {
    let depends = |package: &str, on: &str| -> Result<Option<String>> {
        let names = suite.dependencies(package)?;
        Ok(names.into_iter().find(|name| name.starts_with(on)))
    };
    let image = depends(PACKAGE, "linux-image-")?
        .with_context(|| format!("failed to find the kernel that {PACKAGE} depends on"))?;
    Ok(depends(&image, "linux-binary-")?.unwrap_or(image))
}
