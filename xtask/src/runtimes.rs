//! `cargo xtask runtimes`: the container runtimes that the tests start, real ones, unpacked beside the machine's own. With
//! them comes the definition of the interface (CRI) that the tests hold our messages against.
//!
//! Nothing is installed: no daemon is enabled, no user made, no file of the machine replaced.

mod kubelet;
pub(crate) mod places;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    debian::{self, Suite},
    exit::CannotRun,
    toolchain::cache_dir,
};

/// What one directory holds.
struct Bundle {
    name: &'static str,
    suite: &'static str,
    /// The packages that are unpacked into it: the runtime's own first, then libraries that a bare Debian lacks.
    packages: &'static [&'static str],
    /// What the version of the first package begins with. The tests know the configuration of that one.
    version: &'static str,
    /// Programs that must run here, with the argument that makes them say something and end.
    programs: &'static [(&'static str, &'static str)],
    /// What else there is to do, with the packages unpacked below the first path, to fill the second.
    build: Option<Build>,
}

type Build = fn(&Suite, &Path, &Path) -> Result<()>;

/// runc of bookworm serves every runtime: a newer one wants a newer C library, and crun refuses hybrid cgroups. The programs
/// of newer suites that are listed here need no newer one.
const BUNDLES: [Bundle; 9] = [
    Bundle {
        name: places::OCI,
        suite: "bookworm",
        packages: &["runc", "containernetworking-plugins"],
        version: "",
        programs: &[("usr/sbin/runc", "--version")],
        build: None,
    },
    Bundle {
        name: places::CONTAINERD_1,
        suite: "bookworm",
        packages: &["containerd"],
        version: "1.6.",
        programs: &[("usr/bin/containerd", "--version")],
        build: None,
    },
    Bundle {
        name: places::CONTAINERD_2,
        suite: "sid",
        packages: &["containerd"],
        version: "2.",
        programs: &[("usr/bin/containerd", "--version")],
        build: None,
    },
    Bundle {
        name: places::DOCKER,
        suite: "bookworm",
        packages: &["docker.io", "libdevmapper1.02.1"],
        version: "20.10.",
        programs: &[("usr/sbin/dockerd", "--version")],
        build: None,
    },
    Bundle {
        name: places::PODMAN,
        suite: "bookworm",
        packages: &[
            "podman",
            "conmon",
            "libassuan0",
            "libdevmapper1.02.1",
            "libglib2.0-0",
            "libgpgme11",
            "libsubid4",
        ],
        version: "4.3.",
        programs: &[
            ("usr/bin/podman", "--version"),
            ("usr/bin/conmon", "--version"),
        ],
        build: None,
    },
    Bundle {
        name: places::BUSYBOX,
        suite: "bookworm",
        packages: &["busybox-static"],
        version: "",
        programs: &[("bin/busybox", "true")],
        build: None,
    },
    Bundle {
        name: places::KUBELET,
        suite: "bookworm",
        packages: &kubelet::PACKAGES,
        version: "1.19.",
        programs: &[("kubelet", "--version")],
        build: Some(kubelet::build),
    },
    Bundle {
        name: places::CRI_V1,
        // The stable releases have a definition without stop signals.
        suite: "sid",
        packages: &["golang-k8s-cri-api-dev"],
        version: "0.",
        programs: &[],
        build: None,
    },
    Bundle {
        name: places::CRI_V1ALPHA2,
        suite: "trixie",
        packages: &["golang-github-containerd-containerd-dev"],
        version: "1.7.",
        programs: &[],
        build: None,
    },
];

/// Says where each runtime is, after getting those that are missing.
pub(crate) fn run() -> Result<()> {
    ensure()?;
    for bundle in &BUNDLES {
        let directory = places::directory(bundle.name);
        println!("{}\n  {}", bundle.name, directory.display());
        let packages = fs::read_to_string(directory.join(PACKAGES))
            .with_context(|| format!("failed to read what is in {}", directory.display()))?;
        packages.lines().for_each(|line| println!("  {line}"));
    }
    Ok(())
}

/// Gets the runtimes that are missing. Where none is, no network is needed.
pub(crate) fn ensure() -> Result<()> {
    let is_missing = |bundle: &&Bundle| !places::directory(bundle.name).exists();
    if !BUNDLES.iter().any(|bundle| is_missing(&bundle)) {
        return Ok(());
    }
    let root = cache_dir().join("runtimes");
    let _alone = debian::lock(&root)?;
    // Another checkout may have brought some while this one waited.
    let missing: Vec<&Bundle> = BUNDLES.iter().filter(is_missing).collect();
    announce(&missing, &root);

    let mut suites: Vec<&str> = missing.iter().map(|bundle| bundle.suite).collect();
    suites.sort_unstable();
    suites.dedup();
    for name in suites {
        let suite = Suite::open(name, root.join("unfinished/apt"))?;
        for bundle in missing.iter().filter(|bundle| bundle.suite == name) {
            bring(bundle, &suite, &root.join("unfinished").join(bundle.name))?;
        }
    }
    fs::remove_dir_all(root.join("unfinished")).context("failed to clean up")
}

/// Names and versions of the packages that a directory was made of.
const PACKAGES: &str = "packages";

fn announce(missing: &[&Bundle], root: &Path) {
    eprintln!(
        "the tests start real container runtimes and read the definition of CRI: these are unpacked below {}, and nothing is installed",
        root.display()
    );
    for bundle in missing {
        let Bundle {
            name,
            suite,
            packages,
            build,
            ..
        } = bundle;
        let built = if build.is_some() {
            ", to build it with"
        } else {
            ""
        };
        eprintln!("  {name}: {} of Debian {suite}{built}", packages.join(", "));
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
    let versions = suite.unpack(bundle.packages, &downloads, &packages)?;
    let own = versions
        .iter()
        .find(|version| version.package == bundle.packages[0]);
    let version = own.map_or("", |own| own.version.as_str());
    if !version.starts_with(bundle.version) {
        bail!(CannotRun(format!(
            "the tests of {} are written for {} {}…, and Debian {} has {version}",
            bundle.name, bundle.packages[0], bundle.version, bundle.suite
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
    let place = places::directory(bundle.name);
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
