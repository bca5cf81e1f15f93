//! Reads one process from its directory in `/proc`.

use std::{
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, readlinkat},
    sys::stat::Mode,
};

use crate::{
    event::{CgroupId, Comm, NamespaceKind},
    node::{
        file::{fields, fill, lines, number},
        procfs::is_end,
    },
};

/// Bytes of a file that are read. Tables of connections are the longest files.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Threads that are read of a process whose first thread has exited.
const MAX_THREADS: usize = 64;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Start time in clock ticks since boot; pid and start time together identify a process.
    pub(crate) start_ticks: u64,
    pub(crate) parent: u32,
    pub(crate) comm: Comm,
    /// As in proc_pid_stat(5): `S`, `R`, `Z` … If the first thread has exited while others run, the
    /// state of one of those: the process has not ended.
    pub(crate) state: u8,
    /// Its cgroup; 0 if that has been removed, which a zombie does not prevent.
    pub(crate) cgroup: CgroupId,
    /// Its pid in its own pid namespace, and the depth of that namespace below ours.
    pub(crate) ns_pid: u32,
    pub(crate) pid_level: u32,
    namespaces: [Link; NamespaceKind::ALL.len()],
}

/// A link in `/proc/PID/ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The inode number of the namespace.
    Inode(u32),
    /// The link is gone: a zombie keeps only its pid and user namespaces.
    Gone,
    /// This program may not read the link.
    Unknown,
}

impl Process {
    pub(crate) fn is_zombie(&self) -> bool {
        is_end(self.state)
    }

    pub(crate) fn namespace(&self, kind: NamespaceKind) -> Link {
        let at = NamespaceKind::ALL.iter().position(|known| *known == kind);
        at.map_or(Link::Unknown, |at| self.namespaces[at])
    }
}

/// An open `/proc/PID`: reads through it reach the same process even after its pid has been reused.
pub(in crate::node) struct Directory(OwnedFd);

/// The fields of `/proc/PID/stat` that are used.
pub(in crate::node) struct Stat {
    pid: u32,
    pub(in crate::node) comm: Comm,
    state: u8,
    pub(in crate::node) parent: u32,
    pub(in crate::node) start_ticks: u64,
}

impl Stat {
    fn parse(stat: &[u8]) -> Option<Self> {
        // The name may contain any bytes, parentheses included.
        let opening = stat.iter().position(|byte| *byte == b'(')?;
        let closing = stat.iter().rposition(|byte| *byte == b')')?;
        let mut comm = Comm::default();
        let name = stat.get(opening + 1..closing)?;
        for (to, from) in comm.0.iter_mut().take(15).zip(name) {
            *to = *from;
        }
        // The first field after the name is field 3 of proc_pid_stat(5): state, then ppid; field 22
        // is the start time.
        let mut fields = fields(&stat[closing + 1..]);
        Some(Self {
            pid: number(stat.get(..opening)?.trim_ascii())?,
            comm,
            state: *fields.next()?.first()?,
            parent: number(fields.next()?)?,
            start_ticks: number(fields.nth(17)?)?,
        })
    }

    pub(super) fn is_zombie(&self) -> bool {
        is_end(self.state)
    }
}

/// Reads one process, without its cgroup; `None` when it has ended.
pub(crate) fn read(pid: u32) -> Option<Process> {
    let mut buffer = Vec::new();
    let directory = Directory::open(pid).ok()?;
    let stat = directory.stat(&mut buffer)?;
    directory.process(stat, 0, &mut buffer)
}

impl Directory {
    pub(in crate::node) fn open(pid: u32) -> nix::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(format!("/proc/{pid}").as_str(), flags, Mode::empty()).map(Self)
    }

    /// Reads a file of the directory into `buffer`, up to `MAX_FILE_BYTES`.
    ///
    /// # Errors
    /// Fails when the process has ended, among other reasons.
    pub(in crate::node) fn file(&self, name: &str, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.beginning(name, MAX_FILE_BYTES, buffer)
    }

    /// Reads at most `longest` bytes of a file of the directory into `buffer`.
    ///
    /// # Errors
    /// As [`Directory::file`].
    pub(in crate::node) fn beginning(
        &self,
        name: &str,
        longest: u64,
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(&self.0, name, flags, Mode::empty())?;
        fill(file.into(), longest, buffer)
    }

    pub(in crate::node) fn stat(&self, buffer: &mut Vec<u8>) -> Option<Stat> {
        self.file("stat", buffer).ok()?;
        Stat::parse(buffer)
    }

    /// The path of its cgroup in one hierarchy.
    pub(in crate::node) fn cgroup(&self, hierarchy: u32, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
        self.file("cgroup", buffer).ok()?;
        membership(buffer, hierarchy).map(<[u8]>::to_vec)
    }

    /// Reads the remaining fields; `None` when the process has ended.
    pub(in crate::node) fn process(
        &self,
        stat: Stat,
        cgroup: CgroupId,
        buffer: &mut Vec<u8>,
    ) -> Option<Process> {
        let survivor = stat.is_zombie().then(|| self.survivor(stat.pid)).flatten();
        let at = survivor.as_ref().map_or("", |(at, _)| at);
        let namespaces = NamespaceKind::ALL.map(|kind| self.link(at, kind));
        // Read last: if this succeeds, the process existed while the links were read.
        self.file("status", buffer).ok()?;
        let (ns_pid, pid_level) = ns_pids(buffer).unwrap_or((stat.pid, 0));
        let state = survivor.map_or(stat.state, |(_, state)| state);
        let Stat {
            pid,
            comm,
            parent,
            start_ticks,
            ..
        } = stat;
        Some(Process {
            pid,
            start_ticks,
            parent,
            comm,
            state,
            cgroup,
            ns_pid,
            pid_level,
            namespaces,
        })
    }

    /// The directory within this one of the thread that has what belongs to the process, such as
    /// its network: "" for the first one, `task/12/` if that has exited while others run.
    pub(in crate::node) fn speaker(&self, pid: u32, buffer: &mut Vec<u8>) -> String {
        let is_zombie = self.stat(buffer).is_some_and(|stat| stat.is_zombie());
        let survivor = is_zombie.then(|| self.survivor(pid)).flatten();
        survivor.map_or(String::new(), |(at, _)| at)
    }

    /// The first thread that has not ended, as `task/12/`, and its state.
    fn survivor(&self, pid: u32) -> Option<(String, u8)> {
        // The numbers may be those of another process by now; what is opened is not.
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let mut buffer = Vec::new();
        threads.flatten().take(MAX_THREADS).find_map(|thread| {
            let thread: u32 = number(thread.file_name().as_bytes())?;
            let at = format!("task/{thread}/");
            self.file(&format!("{at}stat"), &mut buffer).ok()?;
            let stat = Stat::parse(&buffer)?;
            (!stat.is_zombie()).then_some((at, stat.state))
        })
    }

    fn link(&self, at: &str, kind: NamespaceKind) -> Link {
        match readlinkat(&self.0, format!("{at}ns/{}", kind.name()).as_str()) {
            Ok(target) => inode(target.as_bytes()).map_or(Link::Unknown, Link::Inode),
            Err(Errno::ENOENT) => Link::Gone,
            Err(_) => Link::Unknown,
        }
    }
}

/// The path of a cgroup in `/proc/PID/cgroup`, in one hierarchy: `4:memory:/path`.
pub(crate) fn membership(memberships: &[u8], hierarchy: u32) -> Option<&[u8]> {
    lines(memberships).find_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        (number(fields.next()?) == Some(hierarchy)).then_some(())?;
        fields.nth(1)
    })
}

/// The last number of the line `NSpid:` (proc_pid_status(5)), which is the pid in the innermost
/// namespace, and how many numbers precede it.
fn ns_pids(status: &[u8]) -> Option<(u32, u32)> {
    let lines = status.split(|byte| *byte == b'\n');
    let pids = lines
        .filter_map(|line| line.strip_prefix(b"NSpid:"))
        .next()?;
    let mut pids = pids.split(u8::is_ascii_whitespace).filter_map(number);
    let first = pids.next()?;
    Some(pids.fold((first, 0), |(_, level), pid| (pid, level + 1)))
}

/// The number in `net:[4026531840]`.
fn inode(link: &[u8]) -> Option<u32> {
    let at = link.iter().position(|byte| *byte == b'[')?;
    number(link[at + 1..].strip_suffix(b"]")?)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
impl Process {
    /// A process with these namespaces, in the order of [`NamespaceKind::ALL`].
    pub(crate) fn made_up(pid: u32, parent: u32, state: u8, namespaces: [Link; 7]) -> Self {
        Self {
            pid,
            start_ticks: u64::from(pid) * 10,
            parent,
            comm: Comm::new("app"),
            state,
            cgroup: 0,
            ns_pid: 1,
            pid_level: 1,
            namespaces,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::procfs::testing::FirstThreadExits;

    #[test]
    fn a_process_whose_first_thread_has_exited_runs_in_its_namespaces() {
        let mut survivor = FirstThreadExits::start();
        let own = read(std::process::id()).expect("we are alive");
        let process = read(survivor.pid()).expect("it runs");
        assert!(!process.is_zombie(), "{process:?}");
        assert_eq!(process.namespaces, own.namespaces);
        survivor.end();
        let process = read(survivor.pid()).expect("it was not reaped");
        assert!(process.is_zombie(), "{process:?}");
        assert_eq!(process.namespace(NamespaceKind::Net), Link::Gone);
    }

    #[test]
    fn the_innermost_pid_and_its_depth_are_read() {
        let of = |line: &str| ns_pids(format!("Name:\tx\n{line}\nNSpgid:\t9\n").as_bytes());
        assert_eq!(of("NSpid:\t4711"), Some((4711, 0)));
        assert_eq!(of("NSpid:\t4711\t5\t1"), Some((1, 2)));
        assert_eq!(of("NSpid:\t"), None);
    }

    #[test]
    fn this_process_is_read() {
        let process = read(std::process::id()).expect("we are alive");
        assert_eq!(process.pid, std::process::id());
        assert_eq!(process.parent, std::os::unix::process::parent_id());
        assert!(process.start_ticks > 0 && !process.is_zombie());
        assert_ne!(process.namespace(NamespaceKind::Pid), Link::Gone);
    }

    #[test]
    fn an_unused_pid_is_none() {
        assert_eq!(read(u32::MAX), None);
    }
}
