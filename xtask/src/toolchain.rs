//! Finds a toolchain for BPF, and unpacks or builds what is missing.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use xtask_support::{
    bundle::{self, Bundle, Extent},
    cargo,
    debian::Origin,
    exit::CannotRun,
};

#[path = "../../pause-trace/build/toolchain.rs"]
mod find;

use find::{Compiler, LINKER_VARIABLE, LINKER_VERSION, Missing, SYSROOT_VARIABLE};
pub(crate) use find::{OLDEST_RUSTC, Toolchain, libraries};

/// Debian's newest compiler, with its sources. It is in the security suite, because browsers are
/// built with it. `bpf-linker` is linked with the LLVM that it depends on.
pub(crate) const COMPILER: Bundle = Bundle {
    name: find::COMPILER_BUNDLE,
    origin: Origin::with_security("bookworm"),
    packages: &["rustc-web", "cargo-web", "rust-web-src"],
    extent: Extent::Dependencies,
    version: "",
    programs: &[("usr/bin/rustc", "-vV"), ("usr/bin/cargo", "--version")],
    build: None,
};

/// Finds a toolchain, and unpacks or builds what is missing.
pub(crate) fn ensure() -> Result<Toolchain> {
    let missing = match find::find() {
        Ok(toolchain) => return Ok(toolchain),
        Err(missing) => missing,
    };
    let compiler = match missing {
        Missing::Linker(compiler) => compiler,
        Missing::Compiler(_) => {
            eprintln!("{missing}");
            let what_for = format!(
                "building the kernel program needs rustc and cargo {OLDEST_RUSTC} or newer with the library sources\n\
                 with rustup: `rustup component add rust-src`, nothing more; \
                 or name an installation in {SYSROOT_VARIABLE}\nelse"
            );
            bundle::ensure(&[&COMPILER], &what_for)?;
            match find::find() {
                Ok(toolchain) => return Ok(toolchain),
                Err(Missing::Linker(compiler)) => compiler,
                Err(missing) => bail!(missing),
            }
        }
    };
    build_linker(&compiler)?;
    Ok(find::find()?)
}

/// The same with the compiler of the cache, even if another one is installed.
pub(crate) fn ensure_unpacked() -> Result<()> {
    bundle::ensure(
        &[&COMPILER],
        "a bare Debian has no compiler with library sources",
    )?;
    let compiler = find::inspect(&COMPILER.directory().join("usr"))
        .context("the unpacked compiler is incomplete")?
        .map_err(|why| Missing::Compiler(vec![(COMPILER.directory(), why)]))?;
    match find::find_linker(&compiler) {
        Some(_) => Ok(()),
        None => build_linker(&compiler),
    }
}

/// Builds `bpf-linker` with the same LLVM as the compiler: another LLVM may not read its bitcode.
fn build_linker(compiler: &Compiler) -> Result<()> {
    let Some(llvm) = shared_llvm(compiler) else {
        bail!(CannotRun(format!(
            "found no libLLVM.so.{0} to build bpf-linker with\ninstall it (on Debian: libllvm{0}), or name a \
             bpf-linker {LINKER_VERSION} in {LINKER_VARIABLE}",
            compiler.llvm
        )));
    };
    let root = find::linker_root(compiler);
    let prefix = root.join("llvm");
    link_llvm(&llvm, &prefix.join("lib")).with_context(|| {
        format!(
            "failed to link {} below {}",
            llvm.display(),
            prefix.display()
        )
    })?;
    let feature = format!("llvm-{}", compiler.llvm);
    cargo::install(
        "bpf-linker",
        &LINKER_VERSION.to_string(),
        &root,
        |install| {
            install
                .args(["--no-default-features", "--features", &feature])
                .env("LLVM_PREFIX", &prefix);
            // The machine's linker searches there for the libraries of that LLVM.
            if let Some(libraries) = libraries(&compiler.sysroot) {
                install.env("LD_LIBRARY_PATH", libraries);
            }
        },
    )
}

/// The compiler's LLVM as a shared library: rustup has it next to the compiler, distributions in
/// the library directories.
fn shared_llvm(compiler: &Compiler) -> Option<PathBuf> {
    let name = format!("libLLVM.so.{}", compiler.llvm);
    let arch = std::env::consts::ARCH;
    let directories = [
        compiler.sysroot.join("lib"),
        compiler.sysroot.join("lib64"),
        compiler.sysroot.join(format!("lib/{arch}-linux-gnu")),
        format!("/usr/lib/llvm-{}/lib", compiler.llvm).into(),
        format!("/usr/lib/{arch}-linux-gnu").into(),
        "/usr/lib64".into(),
    ];
    let files = directories
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten();
    files
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|file| {
            let file_name = file.file_name().unwrap_or_default().to_string_lossy();
            file_name
                .strip_prefix(&*name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
}

/// Makes a directory that replaces LLVM's development files, of which the build only uses
/// `libLLVM.so`. This saves a download of 100 MB. The second link has the name that the linker
/// loads at run time.
fn link_llvm(library: &Path, directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    for old in fs::read_dir(directory)? {
        fs::remove_file(old?.path())?;
    }
    symlink(library, directory.join("libLLVM.so"))?;
    symlink(
        library,
        directory.join(library.file_name().unwrap_or_default()),
    )
}
