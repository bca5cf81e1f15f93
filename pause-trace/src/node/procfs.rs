//! Reads processes from `/proc`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;

use super::file::{fields, number};
use crate::event::{PauseStatus, PodId, ProcessId, SignalMasks};

/// Clock ticks a second in `/proc/PID/stat` (USER_HZ): 100 on every architecture this is built for.
pub(crate) const NS_PER_TICK: u64 = 1_000_000_000 / 100;

/// `CAP_SYS_RESOURCE` (include/uapi/linux/capability.h), which lowering an OOM score requires.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// Whether a process has been reaped: its pid is unused, or belongs to another process. If its
/// start time is unknown, a process with its pid may be it.
pub(crate) fn is_gone(process: ProcessId) -> bool {
    let is_other = |ticks| process.start > 0 && ticks != process.start / NS_PER_TICK;
    match stat(process.pid) {
        Ok(stat) => start(&stat).is_some_and(is_other),
        Err(error) => {
            error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(nix::libc::ESRCH)
        }
    }
}

/// Whether a process is not running or runnable, or does not exist.
pub(crate) fn is_at_rest(pid: u32) -> bool {
    let stat = stat(pid).unwrap_or_default();
    state(&stat) != Some(b'R')
}

/// Whether a process has ended and was not reaped.
pub(crate) fn is_zombie(pid: u32) -> bool {
    has_ended(&speaker(pid)) == Some(true)
}

/// The directory of the thread that speaks for a process: of its first one, or, if that has exited
/// while others run, of the first of those. The kernel shows such a process as a zombie without
/// namespaces, memory and open files, although it runs and nobody can reap it.
pub(in crate::node) fn speaker(pid: u32) -> PathBuf {
    let process = PathBuf::from(format!("/proc/{pid}"));
    if has_ended(&process) != Some(true) {
        return process;
    }
    let living = entries(&process, "task")
        .take(MAX_THREADS)
        .map(|thread| thread.path())
        .find(|thread| has_ended(thread) == Some(false));
    living.unwrap_or(process)
}

/// Whether a process or thread has ended; `None` if it does not exist.
fn has_ended(directory: &Path) -> Option<bool> {
    let stat = fs::read(directory.join("stat")).ok()?;
    Some(is_end(state(&stat)?))
}

/// Whether a process or thread in this state has ended.
pub(in crate::node) fn is_end(state: u8) -> bool {
    matches!(state, b'Z' | b'X')
}

/// The start time of the process with this pid, in clock ticks since boot.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    start(&stat(pid).ok()?)
}

/// The file is not text: a process may give itself a name that is not UTF-8.
fn stat(pid: u32) -> io::Result<Vec<u8>> {
    fs::read(format!("/proc/{pid}/stat"))
}

/// The fields of proc_pid_stat(5) from field 3 on. They are counted after the name, which may
/// contain any bytes.
fn behind_name(stat: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    Some(fields(&stat[end + 1..]))
}

/// Field 3: `R`, `S`, `Z` …
pub(in crate::node) fn state(stat: &[u8]) -> Option<u8> {
    behind_name(stat)?.next()?.first().copied()
}

/// Field 22, in ticks.
pub(in crate::node) fn start(stat: &[u8]) -> Option<u64> {
    number(behind_name(stat)?.nth(19)?)
}

/// The signal sets of a process: bit 0 is signal 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SignalSets {
    caught: u64,
    blocked: u64,
}

impl SignalSets {
    /// Reads the sets of the process with this pid; `None` if it does not exist.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let status = fs::read(format!("/proc/{pid}/status")).ok()?;
        Self::read(&String::from_utf8_lossy(&status))
    }

    pub(in crate::node) fn read(status: &str) -> Option<Self> {
        let set = |name| u64::from_str_radix(line(status, name)?, 16).ok();
        Some(Self {
            caught: set("SigCgt")?,
            blocked: set("SigBlk")?,
        })
    }

    pub(crate) fn catches(self, signal: Signal) -> bool {
        self.caught & bit(signal) != 0
    }

    pub(crate) fn blocks(self, signal: Signal) -> bool {
        self.blocked & bit(signal) != 0
    }
}

/// Open files of a process that are looked at for a signalfd. A process may have a million.
const MAX_DESCRIPTORS: usize = 4096;

/// Threads of a process that are asked which signals they block and wait for.
const MAX_THREADS: usize = 64;

/// The number of the system call behind sigwait(3), rt_sigtimedwait.
const SIGTIMEDWAIT: &str = if cfg!(target_arch = "x86_64") {
    "128"
} else {
    "137"
};

/// How long a handler may run that blocks its signal meanwhile.
const HANDLER: Duration = Duration::from_millis(10);

/// How a process treats signals; `None` if it does not exist. Takes a moment if it blocks a signal
/// that it does not read: a handler may be running, or the process may be between two waits for
/// signals.
pub(crate) fn signals(pid: u32) -> Option<SignalMasks> {
    let mut masks = signal_masks(pid)?;
    if masks.blocked & !masks.read != 0 {
        std::thread::sleep(HANDLER);
        let again = signal_masks(pid)?;
        masks.blocked &= again.blocked;
        masks.read |= again.read;
    }
    Some(masks)
}

fn signal_masks(pid: u32) -> Option<SignalMasks> {
    let (process, speaker) = (PathBuf::from(format!("/proc/{pid}")), speaker(pid));
    let status = fs::read(speaker.join("status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let set = |name| u64::from_str_radix(line(&status, name)?, 16).ok();
    let mut masks = SignalMasks {
        blocked: set("SigBlk")?,
        ignored: set("SigIgn")?,
        caught: set("SigCgt")?,
        pending: set("SigPnd")? | set("ShdPnd")?,
        read: 0,
    };
    // What one thread blocks, another one takes.
    let (blocked, waited_for) = of_threads(&process, masks.blocked);
    masks.blocked = blocked;
    masks.read = waited_for | read_by_descriptors(&speaker, blocked);
    Some(masks)
}

/// The signals of `blocked` that all threads of a process block, and those that one waits for with
/// sigwait.
fn of_threads(process: &Path, mut blocked: u64) -> (u64, u64) {
    let mut waited_for = 0;
    for (count, thread) in entries(process, "task").enumerate() {
        if count == MAX_THREADS {
            // One of the rest may wait for what these block.
            return (blocked, waited_for | blocked);
        }
        let status = fs::read(thread.path().join("status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status);
        // A thread that has ended takes none (`wants_signal`, kernel/signal.c).
        if line(&status, "State").is_some_and(|state| state.bytes().next().is_some_and(is_end)) {
            continue;
        }
        let of_thread = line(&status, "SigBlk").and_then(|set| u64::from_str_radix(set, 16).ok());
        blocked &= of_thread.unwrap_or(u64::MAX);
        let call = fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
        let place = fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
        // Nor of a thread whose call cannot be read is it known that it does not wait for a signal.
        let is_hidden = of_thread.is_some() && call.is_empty() && matches!(&*place, "" | "0");
        if call.split(' ').next() == Some(SIGTIMEDWAIT)
            || place.contains("sigtimedwait")
            || is_hidden
        {
            // The set that it waits for is in its memory. Meanwhile it does not block that set.
            waited_for |= !of_thread.unwrap_or_default();
        }
    }
    (blocked, waited_for)
}

/// The signals of `blocked` that a process may read with signalfd. It reads no others: they are
/// taken or dropped before.
fn read_by_descriptors(process: &Path, blocked: u64) -> u64 {
    let mut read = 0;
    if blocked == 0 {
        return read;
    }
    for (count, descriptor) in entries(process, "fd").enumerate() {
        if count == MAX_DESCRIPTORS {
            return blocked; // one of the rest may be a signalfd
        }
        let is_signalfd = fs::read_link(descriptor.path())
            .is_ok_and(|target| target.as_os_str() == "anon_inode:[signalfd]");
        if is_signalfd {
            let info = process.join("fdinfo").join(descriptor.file_name());
            let info = fs::read_to_string(info).unwrap_or_default();
            let mask = line(&info, "sigmask").and_then(|mask| u64::from_str_radix(mask, 16).ok());
            read |= mask.unwrap_or(u64::MAX) & blocked;
        }
    }
    read
}

fn entries(process: &Path, name: &str) -> impl Iterator<Item = fs::DirEntry> {
    let entries = fs::read_dir(process.join(name)).into_iter().flatten();
    entries.filter_map(Result::ok)
}

/// How often the thread that speaks for a process was switched out; `None` if it does not exist. If
/// that does not change, it has not run.
pub(crate) fn switches(pid: u32) -> Option<u64> {
    let status = fs::read(speaker(pid).join("status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let count = |name| line(&status, name)?.parse::<u64>().ok();
    Some(count("voluntary_ctxt_switches")? + count("nonvoluntary_ctxt_switches")?)
}

/// The function of the kernel in which the thread waits that speaks for a process; `None` if it
/// does not wait, or if the kernel does not tell.
pub(crate) fn wait(pid: u32) -> Option<String> {
    let place = fs::read_to_string(speaker(pid).join("wchan")).ok()?;
    let is_known = !place.is_empty() && place != "0";
    is_known.then_some(place)
}

/// The value of a line of proc_pid_status(5). The kernel escapes a line break in a name, so that
/// none can pass for a line.
pub(in crate::node) fn line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(found.trim())
}

/// The bytes of a line of `smaps_rollup`, such as `Pss:  12 kB`.
pub(in crate::node) fn memory(rollup: &str, name: &str) -> Option<u64> {
    let kib: u64 = line(rollup, name)?
        .strip_suffix(" kB")?
        .trim()
        .parse()
        .ok()?;
    Some(kib.saturating_mul(1024))
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as u32 - 1)
}

/// Reads the status of a pause.
///
/// # Errors
/// Fails when the pause is gone, or its pid now belongs to another process.
pub(crate) fn pause_status(pod: &PodId, process: ProcessId) -> io::Result<PauseStatus> {
    let directory = PathBuf::from(format!("/proc/{}", process.pid));
    // Only the name may be no text, and it is not used.
    let read = |name: &str| {
        let bytes = fs::read(directory.join(name))?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let malformed =
        |what: &str| io::Error::other(format!("{}/{what} is not as expected", directory.display()));
    let stat = stat(process.pid)?;
    let stat: Vec<u64> = behind_name(&stat)
        .map(|fields| {
            fields
                .map(|field| number(field).unwrap_or_default())
                .collect()
        })
        .ok_or_else(|| malformed("stat"))?;
    // Fields 14 (utime), 15 (stime) and 22 (starttime) of proc_pid_stat(5); the first field after
    // the name is field 3.
    let field = |number: usize| {
        stat.get(number - 3)
            .copied()
            .ok_or_else(|| malformed("stat"))
    };
    let started = field(22)?;
    if process.start != 0 && started != process.start / NS_PER_TICK {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("pid {} now belongs to another process", process.pid),
        ));
    }
    let status = read("status")?;
    let line = |name: &str| line(&status, name).ok_or_else(|| malformed("status"));
    let mask = |name: &str| u64::from_str_radix(line(name)?, 16).map_err(|_| malformed("status"));
    let rollup = read("smaps_rollup")?;
    let memory = |name: &str| memory(&rollup, name).ok_or_else(|| malformed("smaps_rollup"));
    let (mut descriptors, mut sockets) = (0, 0);
    for entry in fs::read_dir(directory.join("fd"))? {
        descriptors += 1;
        let target = fs::read_link(entry?.path());
        sockets +=
            u32::from(target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:")));
    }
    let children = read(&format!("task/{}/children", process.pid)).unwrap_or_default();
    let own = fs::read_to_string("/proc/self/status")?;
    // Exact with CONFIG_SCHED_INFO, otherwise zeros or no file. `stat` counts whole ticks.
    let run_ns: u64 = fs::read_dir(directory.join("task"))?
        .filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum();
    let capabilities = own
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let uptime_ns = crate::probe::now();
    Ok(PauseStatus {
        pod: pod.clone(),
        process,
        pss_bytes: memory("Pss")?,
        anonymous_bytes: memory("Anonymous")?,
        threads: line("Threads")?.parse().map_err(|_| malformed("status"))?,
        descriptors,
        sockets,
        children: children.split_whitespace().count() as u32,
        cpu_ns: run_ns.max((field(14)? + field(15)?) * NS_PER_TICK),
        age_ns: uptime_ns.saturating_sub(started * NS_PER_TICK),
        uid: line("Uid")?
            .split_whitespace()
            .nth(1)
            .and_then(|uid| uid.parse().ok())
            .ok_or_else(|| malformed("status"))?,
        capabilities: mask("CapEff")?,
        no_new_privs: line("NoNewPrivs")? == "1",
        oom_score_adj: read("oom_score_adj")?
            .trim()
            .parse()
            .map_err(|_| malformed("oom_score_adj"))?,
        oom_adjustable: capabilities.is_some_and(|mask| mask & CAP_SYS_RESOURCE != 0),
        blocked: mask("SigBlk")?,
        ignored: mask("SigIgn")?,
        caught: mask("SigCgt")?,
    })
}

/// A process whose first thread has exited while another one runs; killed and reaped on drop.
#[cfg(test)]
pub(crate) mod testing {
    use std::{
        fs,
        io::Read as _,
        process::{Child, Command, Stdio},
        sync::atomic::{AtomicU32, Ordering},
    };

    pub(crate) struct FirstThreadExits(Child);

    impl FirstThreadExits {
        /// Starts it, and waits until its first thread has exited.
        pub(crate) fn start() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let source = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../tests/programs/first-thread-exits.c"
            );
            let program = std::env::temp_dir().join(format!(
                "pause-trace-first-thread-{}-{}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            ));
            let mut compiler = Command::new("cc");
            compiler.args(["-O2", "-pthread", "-o"]).arg(&program);
            let compiled = compiler.arg(source).status().expect("cc is installed");
            assert!(compiled.success());
            let mut child = Command::new(&program)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .expect("it executes");
            fs::remove_file(program).expect("it is ours");
            // Its other thread says so when the first one has exited.
            let stdout = child.stdout.as_mut().expect("it is piped");
            stdout.read_exact(&mut [0]).expect("it runs");
            Self(child)
        }

        pub(crate) fn pid(&self) -> u32 {
            self.0.id()
        }

        /// Kills the process, and waits until it is a zombie.
        pub(crate) fn end(&mut self) {
            use nix::sys::wait::{Id, WaitPidFlag, waitid};
            self.0.kill().expect("it is our child");
            let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            waitid(Id::Pid(pid), flags).expect("it is our child");
        }
    }

    impl Drop for FirstThreadExits {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, process::Command};

    use super::{testing::FirstThreadExits, *};

    #[test]
    fn a_process_is_gone_if_its_pid_is_another_ones() {
        let pid = std::process::id();
        let ticks = start_ticks(pid).expect("it runs");
        let of = |start| ProcessId { pid, start };
        assert!(!is_gone(of(ticks * NS_PER_TICK)));
        assert!(is_gone(of((ticks - 1) * NS_PER_TICK)));
        assert!(!is_gone(of(0)), "it may be this one");
        let unused = ProcessId {
            pid: u32::MAX,
            start: 1,
        };
        assert!(is_gone(unused));
    }

    #[test]
    fn a_process_whose_first_thread_has_exited_is_no_zombie() {
        let mut survivor = FirstThreadExits::start();
        let pid = survivor.pid();
        let stat = fs::read(format!("/proc/{pid}/stat")).expect("it runs");
        assert_eq!(state(&stat), Some(b'Z'), "its first thread has exited");
        assert!(!is_zombie(pid));
        let masks = signals(pid).expect("it runs");
        // The first thread blocked it, and the other one takes it.
        assert_eq!(masks.blocked & bit(Signal::SIGTERM), 0);
        assert_eq!(masks.caught & bit(Signal::SIGTERM), bit(Signal::SIGTERM));
        assert!(switches(pid).is_some());
        survivor.end();
        assert!(is_zombie(pid));
    }

    #[test]
    fn a_process_whose_name_is_no_text_is_read() {
        let directory =
            std::env::temp_dir().join(format!("pause-trace-name-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("the directory for temporary files is writable");
        let program = directory.join(OsStr::from_bytes(b"\xff) R 1\n"));
        std::os::unix::fs::symlink("/bin/sleep", &program).expect("it is writable");
        let mut child = Command::new(&program)
            .arg("1000")
            .spawn()
            .expect("it executes");
        let pid = child.id();
        // Spawning returns after the exec, which gives the name.
        let ticks = start_ticks(pid);
        let sets = SignalSets::of(pid);
        let gone = ProcessId { pid, start: 1 };
        assert!(is_gone(gone), "another process has the pid");
        child.kill().expect("it is ours");
        while !is_zombie(pid) {
            std::thread::yield_now();
        }
        child.wait().expect("it is ours");
        fs::remove_dir_all(directory).expect("it is ours");
        assert!(ticks.is_some_and(|ticks| ticks > 0) && sets.is_some());
    }

    /// A directory like that of a process, removed on drop.
    struct Fake(PathBuf);

    impl Fake {
        /// A process whose threads block these signals, and are in these system calls.
        fn new(name: &str, threads: &[(u64, &str)]) -> Self {
            let own = std::process::id();
            let fake = Self(std::env::temp_dir().join(format!("pause-trace-{name}-{own}")));
            for (number, (blocked, call)) in threads.iter().enumerate() {
                let thread = fake.0.join(format!("task/{number}"));
                fs::create_dir_all(&thread).expect("the directory for temporary files is writable");
                let status = format!("Name:\tx\nSigBlk:\t{blocked:016x}\n");
                fs::write(thread.join("status"), status).expect("it is writable");
                fs::write(thread.join("syscall"), call).expect("it is writable");
            }
            fake
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_signal_is_blocked_if_every_thread_blocks_it_and_none_waits_for_it() {
        let (term, other) = (bit(Signal::SIGTERM), bit(Signal::SIGUSR1));
        let waits = &format!("{SIGTIMEDWAIT} 0x7ff0 0x0 0x0 0x8 0x0 0x0 0x7ff0 0x7ff0\n")[..];
        let sleeps = "running\n";
        let of = |name, threads: &[(u64, &str)]| of_threads(&Fake::new(name, threads).0, term);

        assert_eq!(of("one", &[(term, sleeps)]), (term, 0));
        let all = [(term, sleeps), (term | other, sleeps)];
        assert_eq!(of("all", &all), (term, 0));
        assert_eq!(of("not-all", &[(term, sleeps), (0, sleeps)]), (0, 0));
        // While a thread waits for a signal, it does not block it.
        let (blocked, read) = of("waits", &[(term, sleeps), (other, waits)]);
        assert_eq!((blocked, read & term, read & other), (0, term, 0));
        let (blocked, read) = of("waits-for-another", &[(term, sleeps), (term, waits)]);
        assert_eq!((blocked, read & term), (term, 0));
        // One of which nobody may say what it does, as with the ptrace_scope 3 of Yama.
        let (blocked, read) = of("hidden", &[(term, sleeps), (other, "")]);
        assert_eq!((blocked, read & term, read & other), (0, term, 0));
        let many = [(term, sleeps); MAX_THREADS + 1];
        assert_eq!(of("many", &many), (term, term), "one may wait for it");
        assert_eq!(of("most", &many[1..]), (term, 0));
    }

    #[test]
    fn what_a_process_reads_with_signalfd_is_known() {
        use nix::sys::{
            signal::SigSet,
            signalfd::{SfdFlags, SignalFd},
        };
        let mut set = SigSet::empty();
        set.add(Signal::SIGUSR2);
        let _descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).expect("it is made");
        let read = |blocked| read_by_descriptors(Path::new("/proc/self"), blocked);
        let (usr2, winch) = (bit(Signal::SIGUSR2), bit(Signal::SIGWINCH));
        assert_eq!(read(usr2 | winch), usr2);
        // What is not blocked is taken before.
        assert_eq!(read(winch), 0);
        assert_eq!(read(0), 0);
        assert!(signals(std::process::id()).is_some());
        assert_eq!(signals(u32::MAX), None);
        assert_eq!(wait(u32::MAX), None);
    }

    #[test]
    fn signals_are_counted_from_one() {
        let sets =
            SignalSets::read("Name:\tx\nSigBlk:\t0000000000000001\nSigCgt:\t0000000000004002\n")
                .expect("both sets");
        assert!(sets.blocks(Signal::SIGHUP) && !sets.blocks(Signal::SIGTERM));
        assert!(sets.catches(Signal::SIGTERM) && sets.catches(Signal::SIGINT));
        assert_eq!(SignalSets::read("SigBlk:\t0\n"), None);
    }
}
