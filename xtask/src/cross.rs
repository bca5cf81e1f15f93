//! Builds for aarch64 on another processor.
//!
//! A compiler of rustup's may have the library of that target (`rustup target add`). Debian's has it in the same package of the
//! other architecture, which is unpacked beside; the linker and the C library for it are packages of this one. What is built is
//! static, so that it runs where nothing else is.

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

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The linker, and the C library that it links with.
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
    bundle::ensure(&[&LINKERS], "building for aarch64 takes a linker for it")?;
    let rustc = compiler()?;
    // Of its own, since what runs on this machine is built by another compiler there than usually.
    let target_dir = cargo::target_dir()?.join("cross");
    let mut build = cargo::cargo();
    build
        .args(["build", "--release", "--target", TARGET])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTC", rustc)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", linker()?)
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-Ctarget-feature=+crt-static",
        );
    let title = format!("building {} for aarch64", packages.join(", "));
    progress::run(&title, "cross-build", &mut build)?;
    Ok(target_dir.join(TARGET).join("release"))
}

/// The linker, which is told where the libraries are that came with it: cargo passes its own on to whatever it starts.
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

/// A compiler that has the target's library: the usual one, or the kernel program's with that library beside it.
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
        library.bring(&sysroot, &place)?;
    }
    Ok(place.join("rustc"))
}

/// The package with a compiler's library, of this machine's architecture.
#[derive(Debug, PartialEq, Eq)]
struct Library {
    package: String,
    version: String,
}

impl Library {
    /// The one that the compiler below `sysroot` has its own library from.
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
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success().then_some(said)
        };
        let package = query(&["--search"], &own)
            .and_then(|said| owner(&said))
            .with_context(|| {
                CannotRun(format!(
                    "{} has no library for aarch64, and is no package of Debian's\nwith rustup: `rustup target add {TARGET}`",
                    sysroot.display()
                ))
            })?;
        let version = query(&["--show", "--showformat=${Version}"], Path::new(&package))
            .with_context(|| format!("failed to learn the version of {package}"))?;
        Ok(Self { package, version })
    }

    /// Makes `place`: the other architecture's library, the compiler's own, and a compiler that takes both from there.
    fn bring(&self, sysroot: &Path, place: &Path) -> Result<()> {
        let Self { package, version } = self;
        eprintln!(
            "building for aarch64 takes the compiler's library for it: {package} {version} of arm64 is unpacked below {}, and \
             not installed\nby hand: with rustup's compiler, `rustup target add {TARGET}`",
            place.display()
        );
        let root = cache_dir().join("cross");
        let _alone = debian::lock(&root)?;
        if place.exists() {
            return Ok(()); // another checkout brought it while this one waited
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
            bail!("{package} of arm64 holds no library for {TARGET}");
        }
        Ok(())
    }
}

/// The package with the library, in a list of packages and versions.
fn library(list: &str) -> Option<Library> {
    let mut lines = list.lines().filter_map(|line| line.split_once(' '));
    let is_library = |name: &str| name.starts_with("libstd-rust-") && name.ends_with("-dev");
    let (package, version) = lines.find(|(name, _)| is_library(name))?;
    Some(Library {
        package: package.to_owned(),
        version: version.to_owned(),
    })
}

/// The first of the packages that `dpkg-query --search` names: `libstd-rust-dev:amd64, other: /usr/lib/…`.
fn owner(said: &str) -> Option<String> {
    let (names, _) = said.lines().next()?.split_once(": ")?;
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
    fn a_file_has_the_package_that_brings_the_library() {
        let said = "libstd-rust-web-1.96:amd64, libstd-rust-web-dev:amd64: /usr/lib/rustlib/x86_64-unknown-linux-gnu/lib\n";
        assert_eq!(owner(said).as_deref(), Some("libstd-rust-web-dev"));
        assert_eq!(owner("dpkg-query: no path found\n"), None);
        assert_eq!(owner(""), None);
    }
}
