//! Calls of cargo, the directories of the workspace and of its builds, and tools that cargo
//! installs into the cache.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{cache_dir, progress};

/// The directory of the workspace.
pub fn workspace() -> PathBuf {
    // cargo sets it for each run, so that it is right after the tree has been moved.
    let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    Path::new(&xtask)
        .parent()
        .map_or(PathBuf::new(), Path::to_owned)
}

/// The target directory of cargo. This program itself is in it, as `debug/xtask`.
///
/// # Errors
/// When this program is elsewhere.
pub fn target_dir() -> Result<PathBuf> {
    let own = env::current_exe().context("failed to find the path of xtask")?;
    let target = own.ancestors().nth(2);
    Ok(target
        .with_context(|| format!("{} is not in a target directory", own.display()))?
        .to_owned())
}

/// This program, even after cargo has replaced its file.
pub fn own_program() -> PathBuf {
    PathBuf::from(format!("/proc/{}/exe", std::process::id()))
}

/// A command of the cargo that runs this task, in the directory of the workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    // `cargo run` sets it to the libraries of its toolchain, which the child must not use.
    cargo.current_dir(workspace()).env_remove("LD_LIBRARY_PATH");
    cargo
}

/// Runs a command with the terminal of this process.
///
/// # Errors
/// When the command fails.
pub fn passes(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let status = command
        .status()
        .with_context(|| format!("failed to start {}", program.display()))?;
    if !status.success() {
        bail!("{} failed, see above ({status})", program.display());
    }
    Ok(())
}

/// A tool of exactly this version: from `PATH`, else from the cache, where it is built if it is
/// missing.
///
/// # Errors
/// When it does not build.
pub fn tool(name: &str, version: &str) -> Result<PathBuf> {
    let output = Command::new(name).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if text.is_ok_and(|text| text.trim() == format!("{name} {version}")) {
        return Ok(name.into());
    }
    cached_tool(name, version)
}

/// A tool of exactly this version from the cache, where it is built if it is missing.
///
/// # Errors
/// When it does not build.
pub fn cached_tool(name: &str, version: &str) -> Result<PathBuf> {
    let root = cache_dir().join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.exists() {
        install(name, version, &root, |_| {})?;
    }
    Ok(program)
}

/// Builds a tool from the registry and installs it below `root`.
///
/// # Errors
/// When it does not build.
pub fn install(
    name: &str,
    version: &str,
    root: &Path,
    configure: impl FnOnce(&mut Command),
) -> Result<()> {
    eprintln!(
        "installing {name} {version} into {} (`cargo install` builds it from source; nothing else is changed)",
        root.display()
    );
    let mut install = cargo();
    // Outside the workspace, so that its cargo configuration and toolchain override do not apply.
    install
        .current_dir("/")
        .args(["install", name, "--locked", "--version"])
        .arg(format!("={version}"))
        .arg("--root")
        .arg(root)
        // These tools run for a second and take a minute to compile: no optimisation saves time.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
    for variable in [
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "RUSTFLAGS",
    ] {
        install.env_remove(variable);
    }
    configure(&mut install);
    progress::run(&format!("building {name}"), name, &mut install)
}
