//! Writes the eBPF program and the programs without a C library to `OUT_DIR`, where
//! `include_bytes!` finds them.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[path = "build/nested.rs"]
mod nested;
#[path = "build/strip.rs"]
mod strip;
#[path = "build/toolchain.rs"]
mod toolchain;

/// The variable with a ready eBPF object to use instead of building one, for packagers without a
/// BPF toolchain.
const OBJECT_VARIABLE: &str = "PAUSE_TRACE_BPF_OBJECT";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // cargo shows each such line as a separate error.
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("the package has no directory above it")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let object = match env::var_os(OBJECT_VARIABLE) {
        Some(object) => {
            println!("cargo::rerun-if-changed={}", object.display());
            object.into()
        }
        None => {
            let toolchain = toolchain::find().map_err(|missing| {
                format!("{missing}\nrun `cargo xtask toolchain`, which installs what is missing, or explains how to")
            })?;
            nested::build_ebpf(workspace, &shared_dir(&out), &toolchain)?
        }
    };
    strip::strip(&object, &out.join("pause-trace-ebpf"))
        .map_err(|error| format!("failed to strip {}: {error}", object.display()))?;
    let programs = nested::build_programs(workspace, &shared_dir(&out))?;
    for name in nested::PROGRAMS {
        copy(&programs.join(name), &out.join(name))?;
    }
    // Last, so that a failure prints only its own message: cargo reruns a build script that failed
    // in any case.
    rerun_if_changed(workspace);
    Ok(())
}

/// A directory that debug and release builds, tests and clippy share, so that nothing is compiled
/// once for each.
fn shared_dir(out: &Path) -> PathBuf {
    // cargo tags its target directory, but only if it created the directory.
    let tagged = out
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists());
    tagged.unwrap_or(out).join("nested")
}

fn rerun_if_changed(workspace: &Path) {
    let sources = [
        "Cargo.lock",
        "Cargo.toml",
        "nolibc",
        "pause",
        "pause-trace/build",
        "pause-trace/build.rs",
        "pause-trace-common",
        "pause-trace-ebpf",
        "workload",
    ];
    for source in sources {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(source).display()
        );
    }
    let variables = [
        OBJECT_VARIABLE,
        toolchain::LINKER_VARIABLE,
        toolchain::SYSROOT_VARIABLE,
    ];
    for variable in variables {
        println!("cargo::rerun-if-env-changed={variable}");
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::copy(from, to).map_err(|error| {
        format!(
            "failed to copy {} to {}: {error}",
            from.display(),
            to.display()
        )
    })?;
    Ok(())
}
