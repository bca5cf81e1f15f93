//! Builds for aarch64 on another processor.
//!
//! A compiler of rustup may have the standard library of that target (`rustup target add`). For
//! Debian's compiler, that library is in the arm64 version of a package, which is unpacked into the
//! cache. The linker and the C library are packages of this architecture. The programs are static,
//! so that they run in an initramfs without libraries.

use std::{
    env::consts,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use xtask_support::{
    bundle::{self, Bundle, Extent},
    cache_dir, cargo,
    debian::{self, Origin, Suite},
    exit::CannotRun,
    places, progress,
};

use crate::toolchain;

pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The linker and the C library.
const LINKERS: Bundle = Bundle {
    name: "gcc-aarch64",
    origin: Origin::main("bookworm"),
    packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
    extent: Extent::Dependencies,
    version: "",
    programs: &[("usr/bin/aarch64-linux-gnu-gcc", "--version")],
    build: None,
};

/// Builds packages of the workspace, and returns the directory that their programs are in.
pub(crate) fn build(packages: &[&str]) -> Result<PathBuf> {
    // A directory of its own, because build scripts are compiled by another compiler than usual.
    let target_dir = cargo::target_dir()?.join("cross");
    let mut build = cargo::cargo();
    build
        .args(["build", "--release", "--target", TARGET])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .arg("--target-dir")
        .arg(&target_dir);
    configure(&mut build)?;
    build.env(
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
        "-Ctarget-feature=+crt-static",
    );
    let title = format!("building {} for aarch64", packages.join(", "));
    progress::run(&title, "cross-build", &mut build)?;
    Ok(target_dir.join(TARGET).join("release"))
}

/// Makes a command of cargo use the compiler and the linker for aarch64, which are unpacked if they
/// are missing.
pub(crate) fn configure(build: &mut Command) -> Result<()> {
    bundle::ensure(&[&LINKERS], "building for aarch64 needs a linker for it")?;
    build
        .env("RUSTC", compiler()?)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", linker()?);
    Ok(())
}

/// A script that runs the linker with the libraries of its bundle, because cargo sets
/// `LD_LIBRARY_PATH` to others.
fn linker() -> Result<PathBuf> {
    let directory = LINKERS.directory();
    let script = directory.join("linker");
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n",
        places::libraries(&directory),
        directory.join(LINKERS.programs[0].0).display()
    );
    fs::write(&script, text)
        .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("failed to write {}", script.display()))?;
    Ok(script)
}

/// A compiler that has the target's library: the usual one, else that of the kernel program with
/// the library added.
fn compiler() -> Result<PathBuf> {
    let usual = PathBuf::from(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    let mut libdir = Command::new(&usual);
    libdir.args(["--print", "target-libdir", "--target", TARGET]);
    let has_library = |output: std::process::Output| {
        let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&directory).exists()
    };
    if libdir.output().is_ok_and(has_library) {
        return Ok(usual);
    }
    let sysroot = toolchain::ensure()?.compiler.sysroot;
    if sysroot.join("lib/rustlib").join(TARGET).exists() {
        return Ok(sysroot.join("bin/rustc"));
    }
    let library = Library::of(&sysroot)?;
    let place = cache_dir().join("cross").join(&library.version);
    if !place.exists() {
        library.add(&sysroot, &place)?;
    }
    Ok(place.join("rustc"))
}

/// The package of a compiler's library, for this machine's architecture.
#[derive(Debug, PartialEq, Eq)]
struct Library {
    package: String,
    version: String,
}

impl Library {
    /// The package that the compiler below `sysroot` has its own library from.
    fn of(sysroot: &Path) -> Result<Self> {
        if sysroot == toolchain::COMPILER.directory().join("usr") {
            return library(&toolchain::COMPILER.list()?)
                .with_context(|| format!("failed to find the library of {}", sysroot.display()));
        }
        let own = sysroot.join(format!(
            "lib/rustlib/{}-unknown-linux-gnu/lib",
            consts::ARCH
        ));
        let query = |args: &[&str], path: &Path| {
            let mut query = Command::new("dpkg-query");
            let output = query
                .args(args)
                .arg(path)
                .env("LC_ALL", "C")
                .output()
                .ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success().then_some(text)
        };
        let package = query(&["--search"], &own)
            .and_then(|text| owner(&text))
            .with_context(|| {
                CannotRun(format!(
                    "{} has no library for aarch64, and is not from a Debian package\nwith rustup: `rustup target add {TARGET}`",
                    sysroot.display()
                ))
            })?;
        let version = query(&["--show", "--showformat=${Version}"], Path::new(&package))
            .with_context(|| format!("failed to find the version of {package}"))?;
        Ok(Self { package, version })
    }

    /// Makes `place`: the library for aarch64, the compiler's own library, and a script that runs
    /// the compiler with both.
    fn add(&self, sysroot: &Path, place: &Path) -> Result<()> {
        let Self { package, version } = self;
        eprintln!(
            "building for aarch64 needs the compiler's library for it: {package} {version} of arm64 is unpacked below {}, and \
             not installed\nby hand, with rustup's compiler: `rustup target add {TARGET}`",
            place.display()
        );
        let root = cache_dir().join("cross");
        let _alone = debian::lock(&root)?;
        if place.exists() {
            return Ok(()); // another checkout made it while this one waited for the lock
        }
        let unfinished = root.join("unfinished");
        let suite = Suite::open(
            toolchain::COMPILER.origin,
            Some("arm64"),
            unfinished.join("apt"),
        )?;
        let unpacked = unfinished.join("unpacked");
        suite.unpack(
            &[&format!("{package}={version}")],
            &unfinished.join("downloads"),
            &unpacked,
        )?;
        let finished = unfinished.join("finished");
        let libraries = finished.join("lib/rustlib");
        let own = format!("{}-unknown-linux-gnu", consts::ARCH);
        let context = || format!("failed to make {}", place.display());
        fs::create_dir_all(&libraries).with_context(context)?;
        fs::rename(
            unpacked.join("usr/lib/rustlib").join(TARGET),
            libraries.join(TARGET),
        )
        .and_then(|()| symlink(sysroot.join("lib/rustlib").join(&own), libraries.join(&own)))
        .with_context(context)?;
        let rustc = finished.join("rustc");
        let libraries = toolchain::libraries(sysroot).map_or(String::new(), |libraries| {
            format!("LD_LIBRARY_PATH='{}' ", libraries.display())
        });
        let script = format!(
            "#!/bin/sh\n{libraries}exec {}/bin/rustc --sysroot \"${{0%/*}}\" \"$@\"\n",
            sysroot.display()
        );
        fs::write(&rustc, script)
            .and_then(|()| fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)))
            .and_then(|()| fs::rename(&finished, place))
            .and_then(|()| fs::remove_dir_all(&unfinished))
            .with_context(context)?;
        if !place.join("lib/rustlib").join(TARGET).exists() {
            bail!("{package} of arm64 has no library for {TARGET}");
        }
        Ok(())
    }
}

/// Finds the package of the library in a list of packages and versions.
fn library(list: &str) -> Option<Library> {
    let mut lines = list.lines().filter_map(|line| line.split_once(' '));
    let is_library = |name: &str| name.starts_with("libstd-rust-") && name.ends_with("-dev");
    let (package, version) = lines.find(|(name, _)| is_library(name))?;
    Some(Library {
        package: package.to_owned(),
        version: version.to_owned(),
    })
}

/// The first of the packages that `dpkg-query --search` names:
/// `libstd-rust-dev:amd64, other: /usr/lib/…`.
fn owner(text: &str) -> Option<String> {
    let (names, _) = text.lines().next()?.split_once(": ")?;
    let names = names.split(", ");
    let mut names = names.filter_map(|name| name.split(':').next());
    names.find(|name| name.ends_with("-dev")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_the_library_and_its_version() {
        let list =
            "cargo-web 1.96.0-1\nlibstd-rust-web-1.96 1.96.0-1\nlibstd-rust-web-dev 1.96.0-1\n";
        let library = library(list).expect("it is in the list");
        assert_eq!(library.package, "libstd-rust-web-dev");
        assert_eq!(library.version, "1.96.0-1");
    }

    #[test]
    fn the_owner_of_a_file_is_the_package_of_the_library() {
        let text = "libstd-rust-web-1.96:amd64, libstd-rust-web-dev:amd64: /usr/lib/rustlib/x86_64-unknown-linux-gnu/lib\n";
        assert_eq!(owner(text).as_deref(), Some("libstd-rust-web-dev"));
        assert_eq!(owner("dpkg-query: no path found\n"), None);
        assert_eq!(owner(""), None);
    }
}
