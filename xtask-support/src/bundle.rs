//! Programs of Debian packages, unpacked into the cache. The packages that the machine has
//! installed are neither read nor changed.
//!
//! What a machine has installed, holds back or takes from another suite therefore makes no
//! difference, and root is not needed.

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

/// The content of one directory of the cache.
pub struct Bundle {
    /// The name of the directory.
    pub name: &'static str,
    /// Where the packages are from.
    pub origin: Origin,
    /// The packages that are unpacked into it. The first one is the main one.
    pub packages: &'static [&'static str],
    /// What is unpacked besides these packages.
    pub extent: Extent,
    /// The beginning of the version that the first package must have.
    pub version: &'static str,
    /// Programs that must run on this machine, each with an argument that makes it exit at once.
    pub programs: &'static [(&'static str, &'static str)],
    /// Builds the content from the packages; `None` if their files are the content.
    pub build: Option<Build>,
}

/// Which packages are unpacked in addition to those that a bundle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// None.
    Listed,
    /// All dependencies except the C library: programs are started by the machine's loader, which
    /// needs its own C library.
    Dependencies,
    /// All dependencies: the directory can be a root directory.
    Root,
}

/// Fills the second directory from the packages that are unpacked below the first.
pub type Build = fn(&Suite, &Path, &Path) -> Result<()>;

impl Bundle {
    /// Its directory, which may not exist yet.
    pub fn directory(&self) -> PathBuf {
        places::directory(self.name)
    }

    /// A command of one of its programs, which uses the libraries of the bundle.
    pub fn command(&self, program: &str) -> Command {
        let directory = self.directory();
        let mut command = Command::new(directory.join(program));
        command.env("LD_LIBRARY_PATH", places::libraries(&directory));
        command
    }

    /// Its packages: lines of `NAME VERSION`.
    ///
    /// # Errors
    /// When the bundle is not in the cache.
    pub fn list(&self) -> Result<String> {
        let file = self.directory().join(PACKAGES);
        fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))
    }
}

/// The file with the names and versions of the packages of a directory.
const PACKAGES: &str = "packages";

/// Downloads and unpacks the bundles that are missing. If none is, no network is needed. `what_for`
/// is why they are needed.
///
/// # Errors
/// When a package cannot be downloaded, or a program of it does not run.
pub fn ensure(bundles: &[&Bundle], what_for: &str) -> Result<()> {
    let is_missing = |bundle: &&&Bundle| !bundle.directory().exists();
    if !bundles.iter().any(|bundle| is_missing(&bundle)) {
        return Ok(());
    }
    let root = cache_dir().join("debian");
    let _alone = debian::lock(&root)?;
    // Another checkout may have made some while this one waited for the lock.
    let missing: Vec<&Bundle> = bundles.iter().filter(is_missing).copied().collect();
    announce(&missing, what_for, &root);

    let mut origins: Vec<Origin> = missing.iter().map(|bundle| bundle.origin).collect();
    origins.sort_unstable();
    origins.dedup();
    for origin in origins {
        let suite = Suite::open(origin, None, root.join("unfinished/apt"))?;
        for bundle in missing.iter().filter(|bundle| bundle.origin == origin) {
            make(bundle, &suite, &root.join("unfinished").join(bundle.name))?;
        }
    }
    fs::remove_dir_all(root.join("unfinished")).context("failed to clean up")
}

/// Runs each program of a bundle that is in the cache.
///
/// # Errors
/// When a program does not run.
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
            ", which build it"
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
        "by hand: `apt-get download PACKAGE` from that suite, and `dpkg-deb --extract PACKAGE.deb` each package there"
    );
}

/// Makes the directory of a bundle. It is made elsewhere and renamed, so that it is complete or
/// missing.
fn make(bundle: &Bundle, suite: &Suite, unfinished: &Path) -> Result<()> {
    let create = |part: &str| -> Result<PathBuf> {
        let directory = unfinished.join(part);
        fs::create_dir_all(&directory)
            .with_context(|| format!("failed to make {}", directory.display()))?;
        Ok(directory)
    };
    let (downloads, packages) = (create("downloads")?, create("packages")?);
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
            "the tests of {} need {} {}…, but Debian {} has {version}",
            bundle.name, bundle.packages[0], bundle.version, bundle.origin.suite
        )));
    }
    let finished = match bundle.build {
        None => packages,
        Some(build) => {
            let finished = create("finished")?;
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

/// Checks that a program runs on this machine with the libraries of its bundle.
fn try_out(directory: &Path, program: &str, argument: &str) -> Result<()> {
    let path = directory.join(program);
    let output = Command::new(&path)
        .arg(argument)
        .env("LD_LIBRARY_PATH", places::libraries(directory))
        .output()
        .with_context(|| format!("failed to start {}", path.display()))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(CannotRun(format!(
            "{} does not run on this machine: {}",
            path.display(),
            errors.trim()
        )));
    }
    Ok(())
}
