//! Finds the compiler and the linker that build the eBPF program.
//!
//! Rust for BPF needs three things that a stable installation lacks: the sources of `core` (no
//! compiled `core` exists for the target), unstable flags (`-Z build-std`) and `bpf-linker`.
//! `build.rs` and `xtask` share this file, so that both find the same toolchain.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

#[path = "cache.rs"]
mod cache;

pub(crate) use cache::cache_dir;

/// The variable with the Rust installation to use instead of any other: a directory with
/// `bin/rustc` and `lib/rustlib/src`.
pub(crate) const SYSROOT_VARIABLE: &str = "PAUSE_TRACE_BPF_SYSROOT";

/// The variable with the `bpf-linker` to use instead of any other.
pub(crate) const LINKER_VARIABLE: &str = "PAUSE_TRACE_BPF_LINKER";

/// The directory in the cache for an unpacked compiler.
pub(crate) const COMPILER_BUNDLE: &str = "rust-web";

/// The version of the linker that is built if none is found, and the oldest one on `PATH` that is
/// accepted.
pub(crate) const LINKER_VERSION: Version = Version(0, 13, 0);

/// The LLVM versions whose bitcode that linker reads: each LLVM reads its own bitcode and older,
/// and `bpf-linker` 0.13 builds against these.
const LLVM_MAJORS: std::ops::RangeInclusive<u32> = 21..=23;

/// The oldest compiler that builds the workspace, from its manifest.
pub(crate) const OLDEST_RUSTC: &str = env!("CARGO_PKG_RUST_VERSION");

/// Major, minor and patch number. A suffix such as `-nightly` is ignored in comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// Reads `1.95`, `1.95.0` or `1.97.0-nightly`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.split(|c: char| c != '.' && !c.is_ascii_digit());
        let mut numbers = digits.into_iter().next()?.split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        let patch = numbers.next().map_or(Some(0), |n| n.parse().ok())?;
        Some(Self(major, minor, patch))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// A compiler that can build for BPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    /// Where it is installed; `bin/cargo` and `bin/rustc` are below.
    pub(crate) sysroot: PathBuf,
    /// The version that `rustc` reports.
    pub(crate) version: Version,
    /// The major version of its LLVM: the linker must be built against this one or a newer one.
    pub(crate) llvm: u32,
}

/// A compiler and the linker that goes with it.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compiler {
            sysroot,
            version,
            llvm,
        } = &self.compiler;
        write!(
            f,
            "rustc {version} (LLVM {llvm}) in {}, {}",
            sysroot.display(),
            self.linker.display()
        )
    }
}

/// The part of a toolchain that is missing.
#[derive(Debug)]
pub(crate) enum Missing {
    /// No compiler is usable: the candidates, and why each was rejected.
    Compiler(Vec<(PathBuf, Rejection)>),
    /// There is a compiler, but no linker for it.
    Linker(Compiler),
}

/// Why a compiler is rejected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    NoSources,
    TooOld(Version),
    ForeignLlvm(u32),
    Broken(String),
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSources => write!(f, "has no library sources (component rust-src)"),
            Self::TooOld(version) => write!(f, "is {version}, and {OLDEST_RUSTC} is needed"),
            Self::ForeignLlvm(llvm) => {
                let (oldest, newest) = (LLVM_MAJORS.start(), LLVM_MAJORS.end());
                write!(
                    f,
                    "has LLVM {llvm}, and bpf-linker {LINKER_VERSION} works with {oldest} to {newest}"
                )
            }
            Self::Broken(why) => write!(f, "does not run: {why}"),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compiler(rejected) => {
                write!(
                    f,
                    "no Rust compiler that can build the eBPF program was found"
                )?;
                rejected
                    .iter()
                    .try_for_each(|(sysroot, why)| write!(f, "\n  {} {why}", sysroot.display()))
            }
            Self::Linker(compiler) => write!(
                f,
                "no bpf-linker {LINKER_VERSION} or newer for LLVM {} was found",
                compiler.llvm
            ),
        }
    }
}

impl Error for Missing {}

/// Finds a toolchain, without the network and without changing anything.
pub(crate) fn find() -> Result<Toolchain, Missing> {
    let compiler = first_usable(candidates(), inspect).map_err(Missing::Compiler)?;
    match find_linker(&compiler) {
        Some(linker) => Ok(Toolchain { compiler, linker }),
        None => Err(Missing::Linker(compiler)),
    }
}

/// The root directory (in `cargo install`'s sense) of the linker that is built for a compiler.
pub(crate) fn linker_root(compiler: &Compiler) -> PathBuf {
    // A linker for the unpacked compiler uses the LLVM in the cache, so it remains usable if the
    // cache is moved.
    let suffix = libraries(&compiler.sysroot).map_or("", |_| "-unpacked");
    cache_dir().join(format!(
        "bpf-linker-{LINKER_VERSION}-llvm-{}{suffix}",
        compiler.llvm
    ))
}

/// The `LD_LIBRARY_PATH` with the libraries of a compiler that was unpacked into the cache. Other
/// compilers do not need it.
pub(crate) fn libraries(sysroot: &Path) -> Option<OsString> {
    let root = sysroot.parent().filter(|root| *root == unpacked())?;
    let triplet = format!("{}-linux-gnu", env::consts::ARCH);
    let directories = ["usr/lib", "lib"].map(|lib| root.join(lib).join(&triplet));
    env::join_paths(directories).ok()
}

fn unpacked() -> PathBuf {
    cache_dir().join("debian").join(COMPILER_BUNDLE)
}

/// Every Rust installation to consider, the best first: rustup's stable, its nightly, its others,
/// the one in the cache, the distribution's. A stable compiler comes first because userspace is
/// built with it; with `RUSTC_BOOTSTRAP` it accepts unstable flags.
fn candidates() -> Vec<PathBuf> {
    if let Some(sysroot) = env::var_os(SYSROOT_VARIABLE) {
        return vec![sysroot.into()];
    }
    let rustup = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let rustup = rustup.or_else(|| Some(env::home_dir()?.join(".rustup")));
    let mut sysroots: Vec<PathBuf> = rustup
        .and_then(|home| fs::read_dir(home.join("toolchains")).ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    sysroots.sort_by_cached_key(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        (rank(&name), name)
    });
    sysroots.extend([unpacked().join("usr"), "/usr/local".into(), "/usr".into()]);
    sysroots
}

/// The rank of a rustup toolchain in the search, by its name.
fn rank(name: &str) -> u8 {
    match name.split('-').next() {
        Some("stable") => 0,
        Some("nightly") => 1,
        _ => 2,
    }
}

/// The first candidate that passes `inspect`, or why each was rejected. Directories without Rust
/// are skipped.
fn first_usable<T>(
    candidates: Vec<PathBuf>,
    inspect: impl Fn(&Path) -> Option<Result<T, Rejection>>,
) -> Result<T, Vec<(PathBuf, Rejection)>> {
    let mut rejected = Vec::new();
    for sysroot in candidates {
        match inspect(&sysroot) {
            Some(Ok(found)) => return Ok(found),
            Some(Err(why)) => rejected.push((sysroot, why)),
            None => {}
        }
    }
    Err(rejected)
}

/// Inspects an installation; `None` if there is no Rust in it. Sources are checked first, because
/// that does not need a process.
pub(crate) fn inspect(sysroot: &Path) -> Option<Result<Compiler, Rejection>> {
    let bin = sysroot.join("bin");
    if !bin.join("rustc").exists() || !bin.join("cargo").exists() {
        return None;
    }
    if !sysroot
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .exists()
    {
        return Some(Err(Rejection::NoSources));
    }
    let answer = output_of(&bin.join("rustc"), &["-vV"], libraries(sysroot))
        .map_err(|error| Rejection::Broken(error.to_string()));
    Some(answer.and_then(|text| judge(sysroot, &text)))
}

/// Checks a compiler by the output of `rustc -vV`.
fn judge(sysroot: &Path, verbose_version: &str) -> Result<Compiler, Rejection> {
    let value = |key: &str| {
        let found = verbose_version
            .lines()
            .find_map(|line| line.strip_prefix(key));
        let version = found.and_then(|value| Version::parse(value.trim()));
        version.ok_or_else(|| Rejection::Broken(format!("rustc -vV prints no `{key}`")))
    };
    let version = value("release:")?;
    let Version(llvm, ..) = value("LLVM version:")?;
    if Version::parse(OLDEST_RUSTC).is_some_and(|oldest| version < oldest) {
        return Err(Rejection::TooOld(version));
    }
    if !LLVM_MAJORS.contains(&llvm) {
        return Err(Rejection::ForeignLlvm(llvm));
    }
    Ok(Compiler {
        sysroot: sysroot.into(),
        version,
        llvm,
    })
}

/// The linker to use: the one in the variable, the one built for this compiler, or a new enough one
/// on `PATH`.
pub(crate) fn find_linker(compiler: &Compiler) -> Option<PathBuf> {
    if let Some(linker) = env::var_os(LINKER_VARIABLE) {
        return Some(linker.into());
    }
    let root = linker_root(compiler);
    let built = root.join("bin/bpf-linker");
    // `exists` follows links: if the LLVM has been removed since, the linker counts as missing and
    // is built again.
    if built.exists() && root.join("llvm/lib/libLLVM.so").exists() {
        return Some(built);
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join("bpf-linker"))
        .filter(|file| file.is_file())
        .find(|file| {
            let answer = output_of(file, &["--version"], None).unwrap_or_default();
            let version = answer.split_whitespace().last().and_then(Version::parse);
            version.is_some_and(|version| version >= LINKER_VERSION)
        })
}

/// Runs a program and returns its output, or the error.
fn output_of(program: &Path, args: &[&str], libraries: Option<OsString>) -> io::Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    // The libraries of the outer toolchain must not be used by this program.
    match libraries {
        Some(libraries) => command.env("LD_LIBRARY_PATH", libraries),
        None => command.env_remove("LD_LIBRARY_PATH"),
    };
    let output = command.output()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("{} ({stderr})", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIGHTLY: &str = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n\
                           release: 1.97.0-nightly\nLLVM version: 22.1.4\n";

    fn judged(release: &str, llvm: &str) -> Result<Compiler, Rejection> {
        judge(
            Path::new("/usr"),
            &format!("release: {release}\nLLVM version: {llvm}\n"),
        )
    }

    #[test]
    fn a_nightly_is_read_from_what_rustc_prints() {
        let expected = Compiler {
            sysroot: "/usr".into(),
            version: Version(1, 97, 0),
            llvm: 22,
        };
        assert_eq!(judge(Path::new("/usr"), NIGHTLY), Ok(expected));
    }

    #[test]
    fn unusable_compilers_are_rejected_with_a_reason() {
        assert_eq!(
            judged("1.85.0", "21.1.0"),
            Err(Rejection::TooOld(Version(1, 85, 0)))
        );
        assert_eq!(judged("1.99.0", "24.0.0"), Err(Rejection::ForeignLlvm(24)));
        assert!(matches!(
            judge(Path::new("/usr"), "release: 1.96.0"),
            Err(Rejection::Broken(_))
        ));
    }

    #[test]
    fn the_first_usable_installation_is_used() {
        let inspect_path = |path: &Path| match path.to_str() {
            Some("/none") => None,
            Some("/bare") => Some(Err(Rejection::NoSources)),
            _ => Some(Ok(path.to_owned())),
        };
        let all = ["/none", "/bare", "/good", "/also-good"]
            .map(PathBuf::from)
            .to_vec();
        assert_eq!(first_usable(all.clone(), inspect_path), Ok("/good".into()));
        assert_eq!(
            first_usable(all[..2].to_vec(), inspect_path),
            Err(vec![("/bare".into(), Rejection::NoSources)])
        );
    }

    #[test]
    fn stable_comes_before_nightly_before_pinned_versions() {
        let mut names = ["1.95.0-x86_64", "nightly-x86_64", "stable-x86_64"];
        names.sort_by_key(|name| rank(name));
        assert_eq!(names, ["stable-x86_64", "nightly-x86_64", "1.95.0-x86_64"]);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(Version::parse("1.100") > Version::parse("1.95.3"));
        assert_eq!(Version::parse("1.95"), Some(Version(1, 95, 0)));
        assert_eq!(Version::parse("nightly"), None);
    }
}
