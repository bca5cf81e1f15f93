//! The cgroup of a node: one directory of the same name in every hierarchy.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long killed processes may take to leave the cgroup.
const EMPTYING: Duration = Duration::from_secs(60);

/// A cgroup at the top of every hierarchy that is mounted.
#[derive(Debug)]
pub(super) struct Cgroup {
    /// The one of cgroup2 comes first, if it is mounted.
    directories: Vec<PathBuf>,
}

impl Cgroup {
    /// The cgroup of this name, which may not exist.
    pub(super) fn named(name: &str) -> Self {
        let directories = hierarchies()
            .into_iter()
            .map(|top| top.join(name))
            .collect();
        Self { directories }
    }

    /// Its directories, which may not exist.
    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    pub(super) fn create(&self) -> io::Result<()> {
        self.directories.iter().try_for_each(fs::create_dir)
    }

    /// Makes a cgroup below this one for processes that belong to no pod. Returns its
    /// `cgroup.procs`. One hierarchy is enough to find the processes again.
    pub(super) fn create_for_daemons(&self) -> io::Result<PathBuf> {
        let first = self.directories.first().ok_or(io::ErrorKind::Unsupported)?;
        let directory = first.join("daemons");
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(directory.join("cgroup.procs")),
        }
    }

    /// Kills everything in it and below it, and removes it.
    pub(super) fn remove(&self) -> io::Result<()> {
        let until = Instant::now() + EMPTYING;
        loop {
            let found = self.processes();
            if found.is_empty() {
                break;
            }
            if Instant::now() > until {
                let text = format!("{found:?} of {:?} outlive SIGKILL", self.directories);
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            for pid in found {
                // ESRCH: it has ended already.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            thread::yield_now();
        }
        self.directories
            .iter()
            .try_for_each(|directory| remove_tree(directory, until))
    }

    /// Removes the cgroups below a path, which have no processes any more, as the kubelet does when
    /// a pod has ended.
    pub(super) fn remove_below(&self, path: &str) -> io::Result<()> {
        let until = Instant::now() + EMPTYING;
        self.directories
            .iter()
            .try_for_each(|directory| remove_tree(&directory.join(path), until))
    }

    /// Gives the processes below a path as little processor time as possible while others want
    /// some, in every hierarchy that can.
    pub(super) fn yield_processors(&self, path: &str) -> io::Result<()> {
        for directory in &self.directories {
            // `cpu.shares` in v1, `cpu.weight` in v2.
            for (file, least) in [("cpu.shares", "2"), ("cpu.weight", "1")] {
                let file = directory.join(path).join(file);
                if file.exists() {
                    fs::write(&file, least)?;
                }
            }
        }
        Ok(())
    }

    /// Makes and removes a cgroup below a path this many times, in the first hierarchy.
    pub(super) fn churn_below(&self, path: &str, times: usize) -> io::Result<()> {
        let first = self.directories.first().ok_or(io::ErrorKind::Unsupported)?;
        let directory = first.join(path).join("churn");
        (0..times).try_for_each(|_| {
            fs::create_dir(&directory)?;
            fs::remove_dir(&directory)
        })
    }

    /// The directory of the cgroup below a path, in the first hierarchy.
    pub(super) fn below(&self, path: &str) -> io::Result<PathBuf> {
        let first = self.directories.first().ok_or(io::ErrorKind::Unsupported)?;
        Ok(first.join(path))
    }

    /// Freezes the processes in and below a path while `happen` runs.
    pub(super) fn frozen<T>(&self, path: &str, happen: impl FnOnce() -> T) -> io::Result<T> {
        let freezers = self.directories.iter().map(|top| top.join(path));
        let freezer = freezers.filter_map(Freezer::of).next();
        let freezer = freezer.ok_or(io::ErrorKind::Unsupported)?;
        freezer.set(true)?;
        let happened = happen();
        freezer.set(false)?;
        Ok(happened)
    }

    /// Moves a process to a new cgroup, freezes it there while `happen` runs, moves it to the top
    /// of the hierarchy, and removes the cgroup.
    pub(super) fn frozen_in<T>(
        &self,
        name: &str,
        pid: u32,
        happen: impl FnOnce() -> T,
    ) -> io::Result<T> {
        for top in &self.directories {
            let directory = top.join(name);
            fs::create_dir(&directory)?;
            if Freezer::of(directory.clone()).is_none() {
                fs::remove_dir(&directory)?;
                continue;
            }
            fs::write(directory.join("cgroup.procs"), pid.to_string())?;
            let happened = self.frozen(name, happen)?;
            let above = top.parent().ok_or(io::ErrorKind::Unsupported)?;
            fs::write(above.join("cgroup.procs"), pid.to_string())?;
            remove_tree(&directory, Instant::now() + EMPTYING)?;
            return Ok(happened);
        }
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Moves a process to a new cgroup in which it gets only so much more memory. What it has
    /// already counts elsewhere.
    pub(super) fn starve(&self, name: &str, pid: u32, bytes: u64) -> io::Result<()> {
        for top in &self.directories {
            // Where the controller is not on its own. An error means that it is, or is not here.
            let _ = fs::write(top.join("cgroup.subtree_control"), "+memory");
            let directory = top.join(name);
            fs::create_dir(&directory)?;
            let limits = ["memory.max", "memory.limit_in_bytes"].map(|file| directory.join(file));
            if let Some(limit) = limits.iter().find(|file| file.exists()) {
                fs::write(limit, bytes.to_string())?;
                return fs::write(directory.join("cgroup.procs"), pid.to_string());
            }
            fs::remove_dir(&directory)?;
        }
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether a cgroup of this name, at any depth below it, has children.
    pub(super) fn has_children(&self, name: &str) -> bool {
        fn search(directory: &Path, name: &str) -> bool {
            let children = children(directory);
            (directory.ends_with(name) && !children.is_empty())
                || children.iter().any(|child| search(child, name))
        }
        self.directories
            .iter()
            .any(|directory| search(directory, name))
    }

    fn processes(&self) -> BTreeSet<i32> {
        fn collect(directory: &Path, found: &mut BTreeSet<i32>) {
            let pids = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(pids.lines().filter_map(|pid| pid.parse::<i32>().ok()));
            for child in children(directory) {
                collect(&child, found);
            }
        }
        let mut found = BTreeSet::new();
        for directory in &self.directories {
            collect(directory, &mut found);
        }
        found
    }
}

/// What freezes a cgroup.
enum Freezer {
    V2(PathBuf),
    V1(PathBuf),
}

impl Freezer {
    /// That of the cgroup with this directory, if its hierarchy has one.
    fn of(directory: PathBuf) -> Option<Self> {
        match directory {
            it if it.join("cgroup.freeze").exists() => Some(Self::V2(it)),
            it if it.join("freezer.state").exists() => Some(Self::V1(it)),
            _ => None,
        }
    }

    /// Freezes or thaws, and waits until that is done.
    fn set(&self, is_frozen: bool) -> io::Result<()> {
        let (directory, file, text, state, done) = match (self, is_frozen) {
            (Self::V2(it), true) => (it, "cgroup.freeze", "1", "cgroup.events", "frozen 1"),
            (Self::V2(it), false) => (it, "cgroup.freeze", "0", "cgroup.events", "frozen 0"),
            (Self::V1(it), true) => (it, "freezer.state", "FROZEN", "freezer.state", "FROZEN"),
            (Self::V1(it), false) => (it, "freezer.state", "THAWED", "freezer.state", "THAWED"),
        };
        fs::write(directory.join(file), text)?;
        let until = Instant::now() + EMPTYING;
        while !fs::read_to_string(directory.join(state))?.contains(done) {
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::yield_now();
        }
        Ok(())
    }
}

/// The mount points of the hierarchies, cgroup2 first.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo can be read");
    let mut found: Vec<(bool, PathBuf)> = mounts
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let kind = right.split(' ').next()?;
            let place = left.split(' ').nth(4)?;
            kind.starts_with("cgroup")
                .then(|| (kind != "cgroup2", place.into()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, place)| place).collect()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes a cgroup and those below it. A runtime may remove them at the same time.
fn remove_tree(directory: &Path, until: Instant) -> io::Result<()> {
    for child in children(directory) {
        remove_tree(&child, until)?;
    }
    loop {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // The kernel frees the cgroup a moment after its last process.
            Err(error)
                if error.raw_os_error() == Some(Errno::EBUSY as i32) && Instant::now() < until =>
            {
                thread::yield_now();
            }
            other => return other,
        }
    }
}
