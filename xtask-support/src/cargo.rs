//! Calling cargo: where the workspace is, where it builds to, and tools installed beside it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{cache_dir, progress};

/// The directory of the workspace.
pub fn workspace() -> PathBuf {
    // cargo states it anew for each run: a tree that was moved is still found.
    let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    Path::new(&xtask)
        .parent()
        .map_or(PathBuf::new(), Path::to_owned)
}

/// Where cargo puts what it builds: this program is there itself, at `debug/xtask`.
pub fn target_dir() -> Result<PathBuf> {
    let own = env::current_exe().context("failed to learn where xtask itself is")?;
    let target = own.ancestors().nth(2);
    Ok(target
        .with_context(|| format!("{} is in no target directory", own.display()))?
        .to_owned())
}

/// This program, also after cargo has built it anew in its place.
pub fn own_program() -> PathBuf {
    PathBuf::from(format!("/proc/{}/exe", std::process::id()))
}

/// The cargo that runs this task, in the workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    // `cargo run` put the libraries of its toolchain there for this process, not for those that it starts.
    cargo.current_dir(workspace()).env_remove("LD_LIBRARY_PATH");
    cargo
}

/// Runs a command whose output is for the reader, and demands that it passes.
pub fn passes(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let status = command
        .status()
        .with_context(|| format!("failed to start {}", program.display()))?;
    if !status.success() {
        bail!("see above ({status})");
    }
    Ok(())
}

/// The pinned version of a tool: the one on `PATH` if it is that, else one in our cache, which is built if need be.
pub fn tool(name: &str, version: &str) -> Result<PathBuf> {
    let output = Command::new(name).arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if said.is_ok_and(|said| said.trim() == format!("{name} {version}")) {
        return Ok(name.into());
    }
    let root = cache_dir().join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.exists() {
        install(name, version, &root, |_| {})?;
    }
    Ok(program)
}

/// Builds a tool from the registry and puts it below `root`.
pub fn install(
    name: &str,
    version: &str,
    root: &Path,
    configure: impl FnOnce(&mut Command),
) -> Result<()> {
    eprintln!(
        "installing {name} {version} into {} (by `cargo install`, from source; nothing else is touched)",
        root.display()
    );
    let mut install = cargo();
    // Outside the workspace, so that its configuration and toolchain override play no part.
    install
        .current_dir("/")
        .args(["install", name, "--locked", "--version"])
        .arg(format!("={version}"))
        .arg("--root")
        .arg(root)
        // These tools run for a second and are compiled for a minute: that is where time is saved.
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
