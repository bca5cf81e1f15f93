//! Makes sure that a toolchain for BPF is there: finds it, or installs what is missing.

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

/// Debian's newest compiler with its sources: in the security suite, where it is kept for building browsers. The LLVM
/// that it depends on is the one `bpf-linker` is then linked with.
pub(crate) const COMPILER: Bundle = Bundle {
    name: find::COMPILER_BUNDLE,
    origin: Origin::with_security("bookworm"),
    packages: &["rustc-web", "cargo-web", "rust-web-src"],
    extent: Extent::Dependencies,
    version: "",
    programs: &[("usr/bin/rustc", "-vV"), ("usr/bin/cargo", "--version")],
    build: None,
};

/// Finds a toolchain, installing what is missing.
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
                "building the kernel program takes rustc and cargo {OLDEST_RUSTC} or newer with the library sources\n\
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

/// The same with the compiler of the cache, whichever else is there.
pub(crate) fn ensure_unpacked() -> Result<()> {
    bundle::ensure(
        &[&COMPILER],
        "a bare Debian has no compiler with library sources",
    )?;
    let compiler = find::inspect(&COMPILER.directory().join("usr"))
        .context("the unpacked compiler is not whole")?
        .map_err(|why| Missing::Compiler(vec![(COMPILER.directory(), why)]))?;
    match find::find_linker(&compiler) {
        Some(_) => Ok(()),
        None => build_linker(&compiler),
    }
}

/// Builds `bpf-linker` against the very LLVM that the compiler uses: no other reads its bitcode for certain.
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
            // The linker of the machine looks there for what that LLVM needs.
            if let Some(libraries) = libraries(&compiler.sysroot) {
                install.env("LD_LIBRARY_PATH", libraries);
            }
        },
    )
}

/// The compiler's LLVM as a shared library: rustup keeps it beside the compiler, distributions among the libraries.
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

/// Makes the directory that stands in for LLVM's development files, of which only `libLLVM.so` is ever used. That saves
/// a download of 100 MB. The second name is the one that the finished linker asks for.
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
