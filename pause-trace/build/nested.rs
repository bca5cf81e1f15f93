//! The two nested cargo builds: the eBPF program, and the programs without a C library.
//!
//! The workspace's manifest has their profiles, `ebpf` and `nolibc`.

use std::{
    env,
    error::Error,
    path::{Path, PathBuf},
    process::Command,
};

use crate::toolchain::{self, Toolchain};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Builds the eBPF program and returns the object file.
pub(crate) fn build_ebpf(
    workspace: &Path,
    target_dir: &Path,
    toolchain: &Toolchain,
) -> Result<PathBuf> {
    let target = match env::var("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    // aya-ebpf selects the register layout of a probed function by this.
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let flags = [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        // The kernel needs BTF for maps and programs; the linker generates it from the debug
        // information.
        "-Clink-arg=--btf".into(),
        format!("-Clinker={}", text(&toolchain.linker)?),
        remap(workspace, ".")?,
        remap(&cargo_home(), "/cargo")?,
        // The sources of `core`, which is built here.
        remap(
            &toolchain.compiler.sysroot.join("lib/rustlib/src/rust"),
            "/rust",
        )?,
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

/// The programs that [`build_programs`] builds: the reference pause, and the workload of the image.
pub(crate) const PROGRAMS: [&str; 2] = ["pause", "workload"];

/// Builds [`PROGRAMS`] for the machine that pause-trace is built for, and returns the directory
/// they are in.
pub(crate) fn build_programs(workspace: &Path, target_dir: &Path) -> Result<PathBuf> {
    let target = env::var("TARGET")?;
    let mut flags = vec![remap(workspace, ".")?, remap(&cargo_home(), "/cargo")?];
    // If the outer build has a linker configured, as for cross-compilation.
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

/// The separator of flags in `CARGO_ENCODED_RUSTFLAGS`, the variable that takes precedence over any
/// configuration.
const SEPARATOR: &str = "\x1f";

/// Without such flags the binaries contain the directories of the machine that built them, and
/// differ between checkouts.
fn remap(directory: &Path, to: &str) -> Result<String> {
    Ok(format!("--remap-path-prefix={}={to}", text(directory)?))
}

/// The directory with the sources of other crates.
fn cargo_home() -> PathBuf {
    let default = || env::home_dir().unwrap_or_default().join(".cargo");
    env::var_os("CARGO_HOME").map_or_else(default, PathBuf::from)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        format!(
            "{} is not UTF-8, which compiler flags require",
            path.display()
        )
        .into()
    })
}

/// The common part of both builds: the workspace's lock file, a separate target directory (the
/// outer build holds the lock of its own) and an environment without the variables of the outer
/// build.
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

/// Whether a variable belongs to the outer build (its compiler, wrappers such as clippy's, flags,
/// directories) rather than to the machine (registries, proxies, the job server).
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

/// Runs a nested build. Its output is printed as warnings of the outer build, because cargo shows
/// nothing else of a build script that succeeded.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let output = command
        .output()
        .map_err(|error| format!("failed to start {}: {error}", program.display()))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{stderr}");
        return Err(format!("{command:?} failed ({})", output.status).into());
    }
    stderr
        .lines()
        .for_each(|line| println!("cargo::warning={line}"));
    Ok(())
}
