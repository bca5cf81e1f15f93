//! The two cargo builds inside the build: the kernel program for BPF, and the programs without a C library for the node.
//!
//! How each is compiled stands in the workspace's manifest, as the profiles `ebpf` and `nolibc`.

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::Command,
};

use crate::toolchain::{self, Toolchain};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Builds the kernel program and returns the object file.
pub(crate) fn build_ebpf(
    workspace: &Path,
    target_dir: &Path,
    toolchain: &Toolchain,
) -> Result<PathBuf> {
    let target = match env::var("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    // aya-ebpf lays out the registers of a probed function by this.
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let flags = [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        // The kernel wants types for maps and programs; the linker makes them of the debug information.
        "-Clink-arg=--btf".into(),
        format!("-Clinker={}", text(&toolchain.linker)?),
        remap(workspace)?,
    ];
    let bin = toolchain.compiler.sysroot.join("bin");
    let mut command = cargo(&bin.join("cargo"), workspace, target_dir);
    command
        .args(["--package", "pause-trace-ebpf", "--profile", "ebpf"])
        .args(["--target", target, "-Z", "build-std=core"])
        .env("RUSTC", bin.join("rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR));
    if let Some(libraries) = toolchain::libraries(&toolchain.compiler.sysroot) {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    run(&mut command)?;
    Ok(target_dir.join(target).join("ebpf/pause-trace-ebpf"))
}

/// What [`build_programs`] builds: the reference pause, and what the containers of the image run.
pub(crate) const PROGRAMS: [&str; 2] = ["pause", "workload"];

/// Builds [`PROGRAMS`] for the machine that pause-trace is built for, and returns the directory they are in.
pub(crate) fn build_programs(workspace: &Path, target_dir: &Path) -> Result<PathBuf> {
    let target = env::var("TARGET")?;
    let mut flags = vec![remap(workspace)?];
    // Where the outer build was given one, as for another processor.
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        flags.push(format!("-Clinker={linker}"));
    }
    let mut command = cargo(Path::new(&env::var("CARGO")?), workspace, target_dir);
    command
        .args(PROGRAMS.map(|name| format!("--package={name}")))
        .args(["--profile", "nolibc"])
        .args(["--target", &target])
        .env("RUSTC", env::var("RUSTC")?)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR));
    run(&mut command)?;
    Ok(target_dir.join(target).join("nolibc"))
}

/// How cargo parts the flags in `CARGO_ENCODED_RUSTFLAGS`, the one variable that wins over any configuration.
const SEPARATOR: &str = "\x1f";

/// Without this the binaries name the directory of the checkout, and differ from one to the next.
fn remap(workspace: &Path) -> Result<String> {
    Ok(format!("--remap-path-prefix={}=.", text(workspace)?))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .ok_or_else(|| format!("{} is not UTF-8, and compiler flags are", path.display()).into())
}

/// What both builds share: the workspace's lock file, a target directory of their own (the outer build holds the lock
/// of the usual one) and an environment free of what the outer build put there.
fn cargo(program: &Path, workspace: &Path, target_dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(workspace)
        .args(["build", "--locked", "--quiet", "--color", "never"])
        .arg("--target-dir")
        .arg(target_dir);
    env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(is_of_the_outer_build))
        .for_each(|(name, _)| _ = command.env_remove(name));
    command
}

/// Is this variable about the outer build (its compiler, wrappers such as clippy's, flags, directories) rather than
/// about the machine (registries, proxies, the job server)?
fn is_of_the_outer_build(name: &str) -> bool {
    const OF_THE_MACHINE: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "RUSTUP_",
    ];
    const OF_THE_OUTER_BUILD: [&str; 5] = ["CARGO_", "RUST", "DEP_", "LD_LIBRARY_PATH", "__CARGO_"];
    let starts_with = |prefix: &&str| name.starts_with(*prefix);
    OF_THE_OUTER_BUILD.iter().any(starts_with) && !OF_THE_MACHINE.iter().any(starts_with)
}

/// Runs a nested build. Its warnings become the outer build's: cargo shows nothing else of a build script that passed.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let output = command
        .output()
        .map_err(|error| format!("failed to start {}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{said}");
        return Err(format!("{command:?} failed ({})", output.status).into());
    }
    said.lines()
        .for_each(|line| println!("cargo::warning={line}"));
    Ok(())
}
