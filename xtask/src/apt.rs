//! Installs Debian packages: says which and how to do it by hand, then does it.

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{
    exit::CannotRun,
    progress,
    toolchain::{OLDEST_RUSTC, Version},
};

/// A package, and the oldest version that will do if that matters.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) oldest: Option<&'static str>,
}

impl Package {
    /// Any version will do.
    pub(crate) const fn any(name: &'static str) -> Self {
        Self { name, oldest: None }
    }

    /// A package of the Rust compiler: a distribution keeps old ones beside the one that is new enough.
    pub(crate) const fn of_rust(name: &'static str) -> Self {
        Self {
            name,
            oldest: Some(OLDEST_RUSTC),
        }
    }
}

/// Installs `packages`; `why` says what they are for and what to do where they cannot be had.
pub(crate) fn install(packages: &[Package], why: &str) -> Result<()> {
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    let command = format!(
        "apt-get install --no-install-recommends {}",
        names.join(" ")
    );
    if !Path::new("/usr/bin/apt-get").exists() {
        let names = names.join(", ");
        bail!(CannotRun(format!(
            "{why}\non Debian these packages bring it: {names}; there is no apt-get here to install them with"
        )));
    }
    if !is_root() {
        bail!(CannotRun(format!(
            "{why}\nrun this, and then the task again:\n  sudo apt-get update\n  sudo {command}"
        )));
    }
    eprintln!(
        "installing {}\nby hand: apt-get update; {command}",
        names.join(", ")
    );

    let available = || packages.iter().all(is_available);
    if !available() {
        // One source that cannot be reached makes this fail though the others are fine: what counts is what comes next.
        let updated = progress::run("apt-get update", "apt-update", apt_get().arg("update"));
        if !available() {
            updated?;
            let wanted = packages
                .iter()
                .filter(|package| !is_available(package))
                .map(|package| {
                    package
                        .oldest
                        .map_or(package.name.into(), |v| format!("{} {v}", package.name))
                });
            bail!(CannotRun(format!(
                "{why}\nthis machine's apt sources do not offer {}",
                wanted.collect::<Vec<_>>().join(", ")
            )));
        }
    }
    // `--no-remove`: a package that stands in the way is the owner's to remove.
    let mut install = apt_get();
    install
        .args(["install", "--yes", "--no-remove", "--no-install-recommends"])
        .args(names);
    progress::run("apt-get install", "apt-install", &mut install)
}

/// Does this process run as root?
pub(crate) fn is_root() -> bool {
    // The directory of a process belongs to its effective user.
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn apt_get() -> Command {
    let mut apt_get = Command::new("apt-get");
    apt_get
        // Another apt may be at work, as on a machine that just came up.
        .args(["--quiet", "-o", "DPkg::Lock::Timeout=300"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env_remove("LD_LIBRARY_PATH");
    apt_get
}

/// Do apt's lists, as they are now, offer this package in a version that will do?
fn is_available(package: &Package) -> bool {
    let policy = Command::new("apt-cache")
        .args(["policy", package.name])
        .env("LC_ALL", "C")
        .output();
    policy.is_ok_and(|output| {
        let candidate = candidate(&String::from_utf8_lossy(&output.stdout));
        candidate.is_some_and(|version| match package.oldest {
            Some(oldest) => Version::parse(&version) >= Version::parse(oldest),
            None => true,
        })
    })
}

/// The version apt would install, out of what `apt-cache policy` prints.
fn candidate(policy: &str) -> Option<String> {
    let line = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    Some(line.trim().to_owned()).filter(|version| version != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_what_apt_would_install() {
        let policy = |candidate: &str| {
            format!("rustc-web:\n  Installed: (none)\n  Candidate: {candidate}\n")
        };
        let offered = candidate(&policy("1.96.0+dfsg1-1~deb12u2"));
        assert_eq!(
            offered.as_deref().and_then(Version::parse),
            Some(Version(1, 96, 0))
        );
        assert_eq!(candidate(&policy("(none)")), None);
        assert_eq!(candidate(""), None, "an unknown package prints nothing");
    }
}
