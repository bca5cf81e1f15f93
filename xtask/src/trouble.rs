//! Difficult conditions for the tests: a busy machine, and one with leftovers of other programs.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};

use xtask_support::cargo;

/// The number of threads that only use the CPU.
const BUSY_LOOPS: usize = 4;

/// The size of the file that the disk writer writes, syncs and truncates, in bytes.
const FILE_SIZE: usize = 64 << 20;

/// A process that keeps the machine busy. Dropping it ends it.
pub(crate) struct Load {
    child: Child,
    file: PathBuf,
}

impl Load {
    pub(crate) fn start() -> Result<Self> {
        let file = cargo::target_dir()?.join("load");
        // The kernel kills it when this process ends, even if that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(cargo::own_program())
            .arg("load")
            .arg(&file)
            .spawn()
            .context("failed to start setpriv")?;
        Ok(Self { child, file })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

/// Keeps the machine busy until killed: busy loops, a loop that forks and executes, a loop that
/// writes to the disk.
pub(crate) fn load(file: &Path) -> Result<ExitCode> {
    for _ in 0..BUSY_LOOPS {
        thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
    thread::spawn(|| {
        while let Ok(mut child) = Command::new("true").spawn() {
            let _ = child.wait();
        }
    });
    let block = vec![0x5a; FILE_SIZE];
    loop {
        let mut file =
            File::create(file).with_context(|| format!("failed to create {}", file.display()))?;
        file.write_all(&block)
            .and_then(|()| file.sync_all())
            .context("failed to write to the disk")?;
    }
}

/// Leftovers and processes of other programs: a pinned network namespace, empty cgroups of pods, a
/// mounted tracefs, and a containerd and a dockerd with one running pod each. Dropping it removes
/// what it made.
pub(crate) struct Leftovers {
    namespace: PathBuf,
    cgroups: Vec<PathBuf>,
    mounts: Vec<PathBuf>,
    runtimes: Vec<(&'static str, Child)>,
}

/// The places where cgroup hierarchies of either version may be mounted.
const HIERARCHIES: [&str; 5] = [
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/unified",
    "/sys/fs/cgroup/systemd",
    "/sys/fs/cgroup/memory",
    "/sys/fs/cgroup/pids",
];

/// Cgroups of pods, the innermost first.
const CGROUPS: [&str; 3] = [
    "kubepods/besteffort/pod6e1f0000-0000-4000-8000-00000000d127",
    "kubepods/besteffort",
    "kubepods",
];

impl Leftovers {
    /// Makes them. The test programs must be built.
    pub(crate) fn make() -> Result<Self> {
        let mut made = Self {
            namespace: "/run/netns/cni-00000000-0000-4000-8000-00000000d127".into(),
            cgroups: Vec::new(),
            mounts: Vec::new(),
            runtimes: Vec::new(),
        };
        let directory = made.namespace.parent().unwrap_or(Path::new("/run"));
        fs::create_dir_all(directory)
            .and_then(|()| File::create(&made.namespace).map(drop))
            .with_context(|| format!("failed to create {}", made.namespace.display()))?;
        let pin = format!("--net={}", made.namespace.display());
        run("unshare", &[&pin, "true"])?;
        for hierarchy in HIERARCHIES.map(Path::new) {
            if !hierarchy.join("cgroup.procs").exists() {
                continue;
            }
            for cgroup in CGROUPS.iter().rev().map(|cgroup| hierarchy.join(cgroup)) {
                if !cgroup.exists() {
                    fs::create_dir(&cgroup)
                        .with_context(|| format!("failed to make {}", cgroup.display()))?;
                    made.cgroups.push(cgroup);
                }
            }
        }
        let tracefs = Path::new("/sys/kernel/tracing");
        if tracefs.exists() && !tracefs.join("events").exists() {
            run(
                "mount",
                &["-t", "tracefs", "tracefs", "/sys/kernel/tracing"],
            )?;
            made.mounts.push(tracefs.into());
        }
        for runtime in ["containerd-1", "docker"] {
            made.runtimes.push((runtime, start(runtime)?));
        }
        Ok(made)
    }

    /// Checks that everything still exists and runs.
    pub(crate) fn check(&mut self) -> Result<()> {
        let mut places = self.cgroups.iter().chain([&self.namespace]);
        if let Some(gone) = places.find(|place| !place.exists()) {
            bail!(
                "{} is gone; a test removed what it had not made",
                gone.display()
            );
        }
        for (runtime, child) in &mut self.runtimes {
            if let Some(status) = child.try_wait()? {
                bail!("{runtime} ended ({status}); a test stopped what it had not started");
            }
        }
        Ok(())
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        // Errors are ignored: each may be gone already, which `check` has reported.
        for (_, child) in &mut self.runtimes {
            drop(child.stdin.take());
            let _ = child.wait();
        }
        let _ = run("umount", &[&self.namespace.to_string_lossy()]);
        let _ = fs::remove_file(&self.namespace);
        for mount in &self.mounts {
            let _ = run("umount", &[&mount.to_string_lossy()]);
        }
        for cgroup in self.cgroups.iter().rev() {
            let _ = fs::remove_dir(cgroup);
        }
    }
}

/// Starts a runtime with a pod. It ends when its stdin is closed.
fn start(runtime: &str) -> Result<Child> {
    let mut child = cargo::cargo()
        .args(["run", "--quiet", "--package", "pause-trace-tests"])
        .args(["--bin", "lab", "--", runtime])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut lines = BufReader::new(output).lines();
    let is_ready = |line: &std::io::Result<String>| {
        line.as_ref().is_ok_and(|line| line.starts_with("cgroups:"))
    };
    if !lines.any(|line| is_ready(&line)) {
        let _ = child.kill();
        let _ = child.wait();
        bail!("{runtime} did not start");
    }
    Ok(child)
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(args)
        .status()
        .with_context(|| format!("failed to start {program}"))?;
    if !status.success() {
        bail!("{program} {} failed ({status})", args.join(" "));
    }
    Ok(())
}
