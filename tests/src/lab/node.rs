//! A node: namespaces, a cgroup and a directory, which are removed together.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::DirBuilderExt as _},
    panic,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

use super::{cgroup::Cgroup, places};

/// The prefix of the names of all nodes, which are also the names of their temporary directories
/// and cgroups.
const PREFIX: &str = "pause-trace-lab-";

/// The directories that a node has for itself: the path on the node, and the name below the
/// directory of the node.
const OWN: [(&str, &str); 3] = [("/run", "run"), ("/var/lib", "lib"), ("/var/log", "log")];

/// An isolated environment for a runtime and its pods. Dropping it kills its processes and removes
/// its files and cgroups.
#[derive(Debug)]
pub struct Node {
    name: String,
    directory: PathBuf,
    /// Keeps the mount namespace.
    mounts: File,
    /// Keeps the network namespace.
    network: File,
}

impl Node {
    /// Makes a node, and removes the nodes of test programs that were killed.
    ///
    /// # Panics
    /// When the machine does not allow it: this needs root.
    #[must_use]
    pub fn start() -> Self {
        sweep();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let owner = std::process::id();
        let started = start_time(owner).expect("this process is in /proc");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{owner}-{started}-{count}");
        let directory = env::temp_dir().join(&name);
        // containerd 2 requires that any user can enter it.
        fs::DirBuilder::new()
            .mode(0o711)
            .create(&directory)
            .unwrap_or_else(|error| panic!("failed to make {}: {error}", directory.display()));
        Cgroup::named(&name).create().unwrap_or_else(|error| {
            panic!("failed to make the cgroup {name} in every hierarchy: {error}")
        });
        let (mounts, network) = on_a_thread(|| isolate(&directory))
            .unwrap_or_else(|error| panic!("failed to make namespaces: {error}"));
        let node = Self {
            name,
            directory,
            mounts,
            network,
        };
        let busybox = places::directory(places::BUSYBOX).join("bin/busybox");
        node.run(Command::new(busybox).args(["ip", "link", "set", "lo", "up"]));
        node
    }

    /// Its name, which is also the name of its cgroup in every hierarchy.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path on the machine of a file that is `path` on the node.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        OWN.iter()
            .find_map(|(place, own)| {
                Some(
                    self.directory
                        .join(own)
                        .join(path.strip_prefix(place).ok()?),
                )
            })
            .unwrap_or_else(|| path.to_owned())
    }

    /// Writes a file that is `path` on the node, and makes its parent directories. Returns `path`.
    ///
    /// # Panics
    /// When it can't.
    pub fn write<'a>(&self, path: &'a str, text: &str) -> &'a str {
        let file = self.path(path);
        fs::create_dir_all(file.parent().expect("a file is in a directory"))
            .and_then(|()| fs::write(&file, text))
            .unwrap_or_else(|error| panic!("failed to write {}: {error}", file.display()));
        path
    }

    /// Runs `f` on a thread in the namespaces of the node.
    pub fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        on_a_thread(|| {
            // A thread that shares its root and working directory with others may not enter a mount
            // namespace.
            unshare(CloneFlags::CLONE_FS)
                .and_then(|()| setns(&self.mounts, CloneFlags::CLONE_NEWNS))
                .and_then(|()| setns(&self.network, CloneFlags::CLONE_NEWNET))
                .unwrap_or_else(|error| panic!("failed to enter {}: {error}", self.name));
            f()
        })
    }

    /// The command that starts a shell on the node. It works as long as this process runs.
    #[must_use]
    pub fn entrance(&self) -> String {
        let held = format!("/proc/{}/fd", std::process::id());
        let (mounts, network) = (self.mounts.as_raw_fd(), self.network.as_raw_fd());
        format!("nsenter --mount={held}/{mounts} --net={held}/{network}")
    }

    /// Starts a program on the node. It stays in the cgroup of the caller.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn(&self, command: &mut Command) -> Child {
        self.enter(|| {
            command
                .spawn()
                .unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"))
        })
    }

    /// Runs a program on the node, and waits until it ends.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn output(&self, command: &mut Command) -> Output {
        self.enter(|| {
            command
                .output()
                .unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"))
        })
    }

    /// Runs a program on the node, which must succeed. Returns its stdout.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run(&self, command: &mut Command) -> String {
        let output = self.output(command);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command that runs `program` in the cgroup of the node, so that it and its descendants are
    /// killed when the node ends.
    pub(super) fn daemon(&self, program: impl AsRef<OsStr>) -> Command {
        let members = Cgroup::named(&self.name)
            .create_for_daemons()
            .unwrap_or_else(|error| panic!("failed to make a cgroup below {}: {error}", self.name));
        // The program must be in the cgroup before it can fork: a shell moves itself there and
        // executes the program.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo 0 > \"$0\" && exec \"$@\""])
            .arg(members)
            .arg(program);
        command
    }

    /// Whether a cgroup of this name, at any depth below the node's in any hierarchy, has children.
    pub(super) fn has_cgroups_in(&self, name: &str) -> bool {
        Cgroup::named(&self.name).has_children(name)
    }

    /// Makes and removes a cgroup below one of the node's this many times.
    pub(super) fn churn_cgroups(&self, path: &str, times: usize) {
        Cgroup::named(&self.name)
            .churn_below(path, times)
            .unwrap_or_else(|error| panic!("failed to make cgroups below {path}: {error}"));
    }

    /// Gives the node's pods as little processor time as possible while others want some. A kubelet
    /// does that to best-effort pods (`kubepods/besteffort`).
    ///
    /// # Panics
    /// When the weight of their cgroup cannot be set.
    pub fn prefer_daemons(&self) {
        Cgroup::named(&self.name)
            .yield_processors("kubepods/besteffort")
            .unwrap_or_else(|error| panic!("failed to set the weight of the pods: {error}"));
    }

    /// The directory of a cgroup below the node's, in the hierarchy that is watched.
    pub(super) fn cgroup_directory(&self, path: &str) -> PathBuf {
        let directory = Cgroup::named(&self.name).below(path);
        directory.expect("a hierarchy is mounted")
    }

    /// Freezes the processes in and below a cgroup of the node while `happen` runs.
    pub(super) fn frozen<T>(&self, path: &str, happen: impl FnOnce() -> T) -> T {
        Cgroup::named(&self.name)
            .frozen(path, happen)
            .unwrap_or_else(|error| panic!("failed to freeze {path}: {error}"))
    }

    /// Freezes a process in a cgroup of its own while `happen` runs. Then that cgroup is removed.
    ///
    /// # Panics
    /// When the machine has no freezer for cgroups.
    pub fn frozen_process<T>(&self, pid: u32, happen: impl FnOnce() -> T) -> T {
        Cgroup::named(&self.name)
            .frozen_in("frozen", pid, happen)
            .unwrap_or_else(|error| panic!("failed to freeze {pid}: {error}"))
    }

    /// Lets a process have only so much more memory. The kernel kills it when it needs more.
    ///
    /// # Panics
    /// When the machine has no memory controller for cgroups.
    pub fn starve(&self, pid: u32, bytes: u64) {
        Cgroup::named(&self.name)
            .starve("starved", pid, bytes)
            .unwrap_or_else(|error| panic!("failed to limit the memory of {pid}: {error}"));
    }

    /// Removes a cgroup below the node's.
    pub(super) fn remove_cgroup(&self, path: &str) {
        Cgroup::named(&self.name)
            .remove_below(path)
            .unwrap_or_else(|error| panic!("failed to remove {path} below {}: {error}", self.name));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.name, &self.directory) {
            // A second panic would abort the test program, and its other nodes would not be
            // removed.
            if thread::panicking() {
                eprintln!("failed to remove {}: {error}", self.name);
            } else {
                panic!("failed to remove {}: {error}", self.name);
            }
        }
    }
}

/// Moves the calling thread into new namespaces. Returns their files.
fn isolate(directory: &Path) -> io::Result<(File, File)> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
    let change = |place: &str, flags| mount(None::<&str>, place, None::<&str>, flags, None::<&str>);
    // Mounts do not propagate to the machine, but within the node, as systemd sets it up on a real
    // node: a volume that is mounted later then propagates to the containers that request it.
    change("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    change("/", MsFlags::MS_REC | MsFlags::MS_SHARED)?;
    for (place, own) in OWN {
        let own = directory.join(own);
        fs::create_dir(&own)?;
        mount(
            Some(&own),
            place,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )?;
    }
    Ok((
        File::open("/proc/thread-self/ns/mnt")?,
        File::open("/proc/thread-self/ns/net")?,
    ))
}

/// Runs `f` on a new thread, which may change its namespaces.
fn on_a_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(f);
        thread
            .join()
            .unwrap_or_else(|cause| panic::resume_unwind(cause))
    })
}

/// Removes the nodes of test programs that ended without removing them.
///
/// # Panics
/// When that fails.
pub fn sweep() {
    for entry in fs::read_dir(env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|(pid, started)| start_time(pid).as_ref() != Some(&started)) {
            clear(&name, &entry.path()).unwrap_or_else(|error| {
                panic!("failed to remove {name}, which is a leftover: {error}")
            });
        }
    }
}

/// Pid and start time of the test program that a node of this name belongs to.
fn owner(name: &str) -> Option<(u32, String)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.to_owned()))
}

/// The start time of a process in clock ticks since boot. Pid and start time identify a process.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain spaces and parentheses. The start time is the 20th
    // field after it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

/// Removes a node. The kernel removes its mounts and interfaces with the last process in its
/// namespaces. The directory is removed last, so that an interrupted removal is found again.
fn clear(name: &str, directory: &Path) -> io::Result<()> {
    Cgroup::named(name).remove()?;
    match fs::remove_dir_all(directory) {
        // Another test program removed it at the same time.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_node_is_in_its_name() {
        assert_eq!(
            owner("pause-trace-lab-12-3456-0"),
            Some((12, "3456".into()))
        );
        assert_eq!(owner("pause-trace-12-3456-0"), None);
        assert_eq!(owner("pause-trace-lab-x-y"), None);
    }

    #[test]
    fn a_start_time_identifies_a_process() {
        let own = std::process::id();
        assert!(start_time(own).is_some_and(|time| time.parse::<u64>().is_ok()));
        assert_eq!(start_time(own), start_time(own));
        assert_ne!(start_time(own), start_time(1));
        assert_eq!(start_time(0), None);
    }
}
