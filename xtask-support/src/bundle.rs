//! Programs of Debian's packages, unpacked into the cache: the machine's own packages are neither asked nor changed.
//!
//! What a machine has installed, holds back or takes from another suite therefore plays no part, and nobody needs to be root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    cache_dir,
    debian::{self, Origin, Suite},
    exit::CannotRun,
    places,
};

/// What one directory of the cache holds.
pub struct Bundle {
    /// The name of the directory.
    pub name: &'static str,
    /// Where the packages are from.
    pub origin: Origin,
    /// The packages that are unpacked into it, the one it is for first.
    pub packages: &'static [&'static str],
    /// What is unpacked besides these packages.
    pub extent: Extent,
    /// What the version of the first package begins with.
    pub version: &'static str,
    /// Programs that must run here, with the argument that makes them say something and end.
    pub programs: &'static [(&'static str, &'static str)],
    /// What else there is to do, with the packages unpacked below the first path, to fill the second.
    pub build: Option<Build>,
}

/// What is unpacked beside the packages that a bundle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nothing.
    Listed,
    /// All that they depend on, but for the C library: its loader, which starts programs, is the machine's.
    Dependencies,
    /// All that they depend on: a directory to change the root to.
    Root,
}

/// Fills the second directory from the packages that are unpacked below the first.
pub type Build = fn(&Suite, &Path, &Path) -> Result<()>;

impl Bundle {
    /// Where it is, or will be.
    pub fn directory(&self) -> PathBuf {
        places::directory(self.name)
    }

    /// One of its programs, with the libraries that came with it.
    pub fn command(&self, program: &str) -> Command {
        let directory = self.directory();
        let mut command = Command::new(directory.join(program));
        command.env("LD_LIBRARY_PATH", places::libraries(&directory));
        command
    }

    /// Lines of `NAME VERSION` for the packages that it was made of.
    pub fn list(&self) -> Result<String> {
        let file = self.directory().join(PACKAGES);
        fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))
    }
}

/// Names and versions of the packages that a directory was made of.
const PACKAGES: &str = "packages";

/// Gets the bundles that are missing. Where none is, no network is needed. `what_for` completes "…, and nothing is installed".
pub fn ensure(bundles: &[&Bundle], what_for: &str) -> Result<()> {
    let is_missing = |bundle: &&&Bundle| !bundle.directory().exists();
    if !bundles.iter().any(|bundle| is_missing(&bundle)) {
        return Ok(());
    }
    let root = cache_dir().join("debian");
    let _alone = debian::lock(&root)?;
    // Another checkout may have brought some while this one waited.
    let missing: Vec<&Bundle> = bundles.iter().filter(is_missing).copied().collect();
    announce(&missing, what_for, &root);

    let mut origins: Vec<Origin> = missing.iter().map(|bundle| bundle.origin).collect();
    origins.sort_unstable();
    origins.dedup();
    for origin in origins {
        let suite = Suite::open(origin, None, root.join("unfinished/apt"))?;
        for bundle in missing.iter().filter(|bundle| bundle.origin == origin) {
            bring(bundle, &suite, &root.join("unfinished").join(bundle.name))?;
        }
    }
    fs::remove_dir_all(root.join("unfinished")).context("failed to clean up")
}

/// Runs each program of a bundle that is there.
pub fn try_again(bundle: &Bundle) -> Result<()> {
    let mut programs = bundle.programs.iter();
    programs.try_for_each(|(program, argument)| try_out(&bundle.directory(), program, argument))
}

fn announce(missing: &[&Bundle], what_for: &str, root: &Path) {
    eprintln!(
        "{what_for}: Debian packages are unpacked below {}, and nothing is installed",
        root.display()
    );
    for bundle in missing {
        let Bundle {
            name,
            origin,
            packages,
            extent,
            build,
            ..
        } = bundle;
        let dependencies = match extent {
            Extent::Listed => "",
            Extent::Dependencies | Extent::Root => " with dependencies",
        };
        let built = if build.is_some() {
            ", to build it with"
        } else {
            ""
        };
        eprintln!(
            "  {name}: {}{dependencies} of Debian {}{built}",
            packages.join(", "),
            origin.suite
        );
    }
    eprintln!(
        "by hand: `apt-get download PACKAGE` from that suite, and `dpkg-deb --extract PACKAGE.deb` each there"
    );
}

/// Makes the directory of a bundle: beside its place first, so that what is in its place is whole.
fn bring(bundle: &Bundle, suite: &Suite, unfinished: &Path) -> Result<()> {
    let made = |part: &str| -> Result<PathBuf> {
        let directory = unfinished.join(part);
        fs::create_dir_all(&directory)
            .with_context(|| format!("failed to make {}", directory.display()))?;
        Ok(directory)
    };
    let (downloads, packages) = (made("downloads")?, made("packages")?);
    let versions = match bundle.extent {
        Extent::Listed => suite.unpack(bundle.packages, &downloads, &packages)?,
        Extent::Dependencies => {
            suite.unpack_with_dependencies(bundle.packages, &["libc6"], &downloads, &packages)?
        }
        Extent::Root => {
            suite.unpack_with_dependencies(bundle.packages, &[], &downloads, &packages)?
        }
    };
    let own = versions
        .iter()
        .find(|version| version.package == bundle.packages[0]);
    let version = own.map_or("", |own| own.version.as_str());
    if !version.starts_with(bundle.version) {
        bail!(CannotRun(format!(
            "the tests of {} are written for {} {}…, and Debian {} has {version}",
            bundle.name, bundle.packages[0], bundle.version, bundle.origin.suite
        )));
    }
    let finished = match bundle.build {
        None => packages,
        Some(build) => {
            let finished = made("finished")?;
            build(suite, unfinished, &finished)?;
            finished
        }
    };
    for (program, argument) in bundle.programs {
        try_out(&finished, program, argument)?;
    }
    let list: String = versions
        .iter()
        .map(|version| format!("{} {}\n", version.package, version.version))
        .collect();
    let place = bundle.directory();
    fs::write(finished.join(PACKAGES), list)
        .and_then(|()| fs::rename(&finished, &place))
        .and_then(|()| fs::remove_dir_all(unfinished))
        .with_context(|| format!("failed to put {} in its place", place.display()))
}

/// Does a program run here, with the libraries that came with it?
fn try_out(directory: &Path, program: &str, argument: &str) -> Result<()> {
    let path = directory.join(program);
    let output = Command::new(&path)
        .arg(argument)
        .env("LD_LIBRARY_PATH", places::libraries(directory))
        .output()
        .with_context(|| format!("failed to start {}", path.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(CannotRun(format!(
            "{} does not run on this machine: {}",
            path.display(),
            said.trim()
        )));
    }
    Ok(())
}
