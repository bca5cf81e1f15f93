//! Shared code of the live tests: paths of programs, ways to run them, real runtimes, and checks
//! for leftovers.

pub mod bench;
pub mod chromium;
pub mod confined;
pub mod dist;
pub mod elf;
pub mod lab;
pub mod node;
pub mod process;
pub mod prometheus;
pub mod recording;
pub mod soak;
pub mod watch;
pub mod wire;

use std::{
    env, fs,
    io::Read as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

use serde_json::Value;

fn target() -> PathBuf {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target"));
    env::var_os("CARGO_TARGET_DIR").map_or_else(default, PathBuf::from)
}

/// The path of the pause-trace that is tested: the static program of a release in `cargo xtask
/// test`, which names it in `TESTED_PROGRAM`, else the one that `cargo build --release` makes.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn pause_trace() -> PathBuf {
    let default = || target().join("release/pause-trace");
    let path = env::var_os("TESTED_PROGRAM").map_or_else(default, PathBuf::from);
    assert!(
        path.exists(),
        "{} is missing: run `cargo xtask test`",
        path.display()
    );
    path
}

/// A directory below the target directory for files of the tests.
///
/// # Panics
/// When it can't be made.
#[must_use]
pub fn scratch(name: &str) -> PathBuf {
    let path = target().join("tmp").join(name);
    fs::create_dir_all(&path)
        .unwrap_or_else(|error| panic!("failed to make {}: {error}", path.display()));
    path
}

/// The reference pause, written by `pause-trace pause`.
///
/// # Panics
/// When that fails.
#[must_use]
pub fn pause_binary() -> PathBuf {
    static PAUSE: OnceLock<PathBuf> = OnceLock::new();
    PAUSE
        .get_or_init(|| {
            let path = scratch("pause").join("pause");
            let run = run(["pause", "--force", "--out", &path.to_string_lossy()]);
            assert_eq!(run.code, Some(0), "{run:?}");
            path
        })
        .clone()
}

/// The workload, extracted from the image that `pause-trace image` writes.
///
/// # Panics
/// When it is not in the image.
#[must_use]
pub fn workload_binary() -> PathBuf {
    static WORKLOAD: OnceLock<PathBuf> = OnceLock::new();
    WORKLOAD
        .get_or_init(|| {
            let directory = scratch("workload");
            let image = directory.join("image.tar");
            let run = run(["image", "--force", "--out", &image.to_string_lossy()]);
            assert_eq!(run.code, Some(0), "{run:?}");
            let image = fs::read(image).expect("it was just written");
            let docker = in_archive(&image, "manifest.json");
            let docker: Value = serde_json::from_slice(&docker).expect("a manifest is JSON");
            let layer = docker[0]["Layers"][0]
                .as_str()
                .expect("an image has a layer");
            let workload = in_archive(&in_archive(&image, layer), "workload");
            let path = directory.join("workload");
            let own = own_name(&path);
            fs::write(&own, workload).expect("failed to write the workload");
            let executable = PermissionsExt::from_mode(0o755);
            fs::set_permissions(&own, executable).expect("this process owns the file");
            fs::rename(own, &path).expect("both are in one directory");
            path
        })
        .clone()
}

/// Writes the container image of pause-trace with this name and this kind of pause: `good`, or one
/// that breaks a promise.
///
/// # Panics
/// When pause-trace fails.
#[must_use]
pub fn image_archive(name: &str, pause: &str) -> PathBuf {
    let file = format!("{}-{pause}.tar", name.replace(['/', ':'], "_"));
    let path = scratch("images").join(file);
    let out = path.to_string_lossy();
    let run = run([
        "image", "--force", "--out", &out, "--name", name, "--pause", pause,
    ]);
    assert_eq!(run.code, Some(0), "{run:?}");
    path
}

fn in_archive(archive: &[u8], name: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().expect("a tar archive").flatten();
    let entry = entries.find(|entry| entry.path_bytes() == name.as_bytes());
    let mut content = Vec::new();
    entry
        .unwrap_or_else(|| panic!("no {name} in the archive"))
        .read_to_end(&mut content)
        .expect("a whole entry");
    content
}

/// A pause written in C, compiled from `pauses/NAME.c`.
#[must_use]
pub fn c_pause(name: &str) -> PathBuf {
    compiled("pauses", name)
}

/// A program in C, compiled from `programs/NAME.c`.
#[must_use]
pub fn c_program(name: &str) -> PathBuf {
    compiled("programs", name)
}

fn compiled(directory: &str, name: &str) -> PathBuf {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("{directory}/{name}.c"));
    let program = scratch(directory).join(name);
    // Tests that run as threads of one process would write the same file.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let own = own_name(&program);
    let output = Command::new("gcc")
        .args([
            "-std=gnu11",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-static",
            "-pthread",
            "-o",
        ])
        .args([&own, &source])
        .output()
        .expect("failed to run gcc");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "gcc {}: {errors}",
        source.display()
    );
    fs::rename(own, &program).expect("both are in one directory");
    program
}

/// A name beside a file for this process, to write the file before a rename to its name. Other test
/// programs may be running the file.
fn own_name(path: &Path) -> PathBuf {
    path.with_extension(std::process::id().to_string())
}

/// A finished run of pause-trace.
#[derive(Debug)]
pub struct Run {
    /// The exit code; `None` if a signal killed it.
    pub code: Option<i32>,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs pause-trace and waits for its end.
///
/// # Panics
/// When it can't be started.
pub fn run<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Run {
    Command::new(pause_trace())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("failed to run pause-trace")
        .into()
}

impl Run {
    /// The objects of a `--format json` run.
    ///
    /// # Panics
    /// When a line does not match the schema.
    #[must_use]
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        let read = |line| wire::read(line).unwrap_or_else(|error| panic!("{error}; {self:?}"));
        self.stdout.lines().map(read).collect()
    }

    /// The objects of one type.
    #[must_use]
    pub fn of_type(&self, kind: &str) -> Vec<Value> {
        self.objects()
            .into_iter()
            .filter(|object| object["type"] == kind)
            .collect()
    }

    /// The last object, which must be the summary.
    ///
    /// # Panics
    /// When it is not the summary.
    #[must_use]
    pub fn summary(&self) -> Value {
        let last = self
            .objects()
            .pop()
            .unwrap_or_else(|| panic!("no output: {self:?}"));
        assert_eq!(last["type"], "summary", "{self:?}");
        last
    }
}
