//! `cargo xtask bare`: runs a task on a bare Debian, so that no package of the machine hides a
//! missing step.
//!
//! The bare Debian is a root directory with the packages that every developer has: git, gcc,
//! Python, apt. It shares rustup's toolchain, the crates that cargo has downloaded and the checkout
//! with the machine.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use vmlab::Arch;
use xtask_support::{
    bundle::{self, Bundle, Extent},
    cache_dir, cargo,
    debian::{Origin, Suite},
    exit::{CannotRun, is_root},
    places,
};

use crate::{runtimes, toolchain};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Start with an empty cache, which needs the network and some minutes; the directory is kept
    /// for `--cache`
    #[arg(long)]
    fresh: bool,
    /// Use this `XDG_CACHE_HOME` instead of the machine's own
    #[arg(long, value_name = "DIR", conflicts_with = "fresh")]
    cache: Option<PathBuf>,
    /// Pretend to apt that newer packages are installed and held, which conflict with those of the
    /// distribution
    #[arg(long)]
    conflicts: bool,
    /// Run without the network
    #[arg(long)]
    offline: bool,
    /// The task and its arguments
    #[arg(last = true, default_value = "get")]
    task: Vec<String>,
}

/// The packages of the bare Debian.
const ROOT: Bundle = Bundle {
    name: places::BARE,
    origin: Origin::main("bookworm"),
    packages: &[
        "base-files",
        "apt",
        "bash",
        "ca-certificates",
        "coreutils",
        "dash",
        "debian-archive-keyring",
        "findutils",
        "gcc",
        "git",
        "grep",
        "gzip",
        "hostname",
        "iproute2",
        "libc-bin",
        "libc6-dev",
        "mount",
        "procps",
        "python3",
        "sed",
        "tar",
        "util-linux",
        "xz-utils",
    ],
    extent: Extent::Root,
    version: "",
    programs: &[],
    build: Some(prepare),
};

/// Does what the installation of the packages would do.
fn prepare(_: &Suite, work: &Path, finished: &Path) -> Result<()> {
    let context = || format!("failed to prepare {}", finished.display());
    fs::remove_dir(finished)
        .and_then(|()| fs::rename(work.join("packages"), finished))
        .with_context(context)?;
    for (file, text) in [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/bin/false\n",
        ),
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("var/lib/dpkg/status", ""),
    ] {
        let path = finished.join(file);
        let parent = path.parent().unwrap_or(finished);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .with_context(context)?;
    }
    symlink("gcc", finished.join("usr/bin/cc")).with_context(context)
}

/// A dpkg status as on a machine with newer packages from elsewhere, which conflict with those of
/// the distribution.
const CONFLICTS: &str = "\
Package: qemu-utils
Status: hold ok installed
Architecture: amd64
Version: 1:99.0-1
Maintainer: nobody <nobody@localhost>
Breaks: qemu-system-x86 (<< 1:99), qemu-system-arm (<< 1:99), qemu-system-common (<< 1:99)
Conflicts: rustc-web, chromium-headless-shell, chromium-common, catatonit
Description: stands in the way

Package: libllvm22
Status: hold ok installed
Architecture: amd64
Version: 1:99.0-1
Maintainer: nobody <nobody@localhost>
Description: stands in the way, too

";

/// Unpacks the bare Debian, in which a test installs the Debian package of a release.
pub(crate) fn ensure() -> Result<()> {
    bundle::ensure(&[&ROOT], "a Debian package is tried on a bare Debian")
}

/// Gets everything that building and testing need, and runs each program once.
pub(crate) fn get() -> Result<()> {
    println!("{}", toolchain::ensure()?);
    runtimes::ensure()?;
    Arch::X86_64.ensure_emulator()?;
    let emulator = Arch::X86_64.emulator_bundle();
    for bundle in runtimes::BUNDLES.iter().chain([emulator]) {
        bundle::try_again(bundle)?;
        println!("{} runs", bundle.name);
    }
    Ok(())
}

/// Runs a task in the bare root, and returns its exit code.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if !is_root() {
        bail!(CannotRun("mounting a root directory needs root".into()));
    }
    let cache = match (&args.cache, args.fresh) {
        (Some(cache), _) => cache.clone(),
        (None, true) => {
            let cache = cargo::target_dir()?.join("bare/cache");
            if cache.exists() {
                fs::remove_dir_all(&cache)
                    .with_context(|| format!("failed to remove {}", cache.display()))?;
            }
            cache
        }
        (None, false) => {
            // Even if the machine has a compiler: the bare Debian has none.
            toolchain::ensure_unpacked()?;
            runtimes::ensure()?;
            Arch::X86_64.ensure_emulator()?;
            let own = cache_dir();
            own.parent().unwrap_or(&own).to_owned()
        }
    };
    let whole = cache.join("pause-trace");
    fs::create_dir_all(&whole).with_context(|| format!("failed to make {}", whole.display()))?;
    eprintln!("the cache is {}", whole.display());
    bundle::ensure(&[&ROOT], "the task runs on a bare Debian")?;
    let status = command(args, &cache)?
        .status()
        .context("failed to start unshare")?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The step of `cargo xtask test`: `get` with the machine's cache, without the network.
pub(crate) fn test() -> Result<()> {
    let args = Args {
        fresh: false,
        cache: None,
        conflicts: true,
        offline: true,
        task: vec!["get".into()],
    };
    if run(&args)? != ExitCode::SUCCESS {
        bail!("the content of the cache is not enough on a bare Debian");
    }
    Ok(())
}

/// Mounts a temporary root and starts this program in it. `$1` is the root, `$2` is a dpkg status
/// or empty. The paths up to `--` are mounted at the same place in the root, and the program and
/// its arguments follow.
const SCRIPT: &str = r#"
root=$1 status=$2
shift 2
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
root=/mnt/root
for place in /proc /sys /dev; do mkdir -p "$root$place"; mount --rbind "$place" "$root$place"; done
mkdir -p "$root/tmp" "$root/root" "$root/run" "$root/etc/apt"
chmod 1777 "$root/tmp"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$root$1"; mount --rbind "$1" "$root$1"
    elif [ -e "$1" ]; then mkdir -p "$root${1%/*}"; : > "$root$1"; mount --bind "$1" "$root$1"
    fi
    shift
done
shift
[ -z "$status" ] || printf '%s' "$status" > "$root/var/lib/dpkg/status"
exec chroot "$root" "$@"
"#;

fn command(args: &Args, cache: &Path) -> Result<Command> {
    let home = |variable: &str, directory: &str| {
        let default = || env::home_dir().unwrap_or_default().join(directory);
        env::var_os(variable).map_or_else(default, PathBuf::from)
    };
    let (cargo_home, rustup_home) = (home("CARGO_HOME", ".cargo"), home("RUSTUP_HOME", ".rustup"));
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]);
    if args.offline {
        unshare.arg("--net");
    }
    unshare
        .args(["sh", "-euc", SCRIPT, "bare"])
        .arg(ROOT.directory())
        .arg(if args.conflicts { CONFLICTS } else { "" });
    for place in ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl", "/etc/apt"] {
        unshare.arg(place);
    }
    let workspace = cargo::workspace();
    let target = cargo::target_dir()?;
    unshare
        .args([&cargo_home, &rustup_home, &workspace, &target])
        .arg(cache.join("pause-trace"))
        .arg("--")
        .arg(cargo::own_program())
        .args(&args.task)
        // At the same path, because programs in it contain the paths of their libraries.
        .env("XDG_CACHE_HOME", cache)
        .env("CARGO_HOME", &cargo_home)
        .env("RUSTUP_HOME", &rustup_home)
        .env("CARGO_TARGET_DIR", "/tmp/target")
        .env(
            "PATH",
            format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", cargo_home.display()),
        )
        .env("HOME", "/root");
    Ok(unshare)
}
