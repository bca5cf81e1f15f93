//! The reference pause keeps the promises of its crate documentation, seen from outside: signals, reaping, and how little
//! of it there is. As pid 1 of a pid namespace (which needs root) and as an ordinary process.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use pause_trace_tests::pause_binary;

const ORPHANS: usize = 1000;
const DEADLINE: Duration = Duration::from_secs(10);

#[test]
fn sigterm_and_sigint_end_it_with_0() {
    for place in places() {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let mut pause = Pause::start(place, |_| ());
            pause.signal(signal);
            assert_eq!(pause.exit().code(), Some(0), "after signal {signal}");
        }
    }
}

#[test]
fn no_other_signal_ends_or_stops_it() {
    for place in places() {
        let mut pause = Pause::start(place, |_| ());
        let others = (1..=libc::SIGRTMAX()).filter(|signal| {
            ![libc::SIGTERM, libc::SIGINT, libc::SIGKILL, libc::SIGSTOP].contains(signal)
        });
        // A fatal signal settles the exit status while it is sent, and a stopped process would not take SIGTERM: the
        // status below tells of either.
        others.for_each(|signal| pause.signal(signal));
        pause.wait_until("nothing is pending", |pause| {
            pause.signals("SigPnd") == 0 && pause.signals("ShdPnd") == 0
        });
        pause.signal(libc::SIGTERM);
        assert_eq!(pause.exit().code(), Some(0));
    }
}

#[test]
fn a_thousand_orphans_that_die_at_once_are_all_reaped() {
    for place in places() {
        let (wait, release) = io::pipe().expect("failed to make a pipe");
        let mut pause = Pause::start(place, |command| {
            before_exec(command, move || leave_orphans(&wait));
        });
        pause.wait_until("every orphan fell to it", |pause| {
            pause.children().len() == ORPHANS
        });
        drop::<PipeWriter>(release);
        pause.wait_until("every orphan is reaped", |pause| {
            pause.children().is_empty()
        });
        pause.signal(libc::SIGTERM);
        assert_eq!(pause.exit().code(), Some(0));
    }
}

#[test]
fn children_from_before_its_exec_are_reaped() {
    for exit_signal in [libc::SIGCHLD, 0] {
        let (wait, release) = io::pipe().expect("failed to make a pipe");
        let pause = Pause::start(Place::Ordinary, |command| {
            before_exec(command, move || {
                let dead = child(exit_signal, || ())?;
                await_death(dead)?;
                let alive = wait.as_raw_fd();
                child(exit_signal, || sleep_until_closed(alive)).map(drop)
            });
        });
        pause.wait_until("the one that had died is reaped", |pause| {
            pause.children().len() == 1
        });
        drop(release);
        pause.wait_until("the one that dies later is reaped", |pause| {
            pause.children().is_empty()
        });
    }
}

#[test]
fn inherited_signal_settings_do_not_matter() {
    let mut pause = Pause::start(Place::Ordinary, |command| {
        before_exec(command, || {
            block_all_signals();
            (1..=libc::SIGRTMAX()).for_each(ignore);
            Ok(())
        });
    });
    assert_eq!(pause.signals("SigBlk"), 0, "nothing is blocked");
    let caught = [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD].map(|signal| 1_u64 << (signal - 1));
    assert_eq!(pause.signals("SigCgt"), caught.iter().sum::<u64>());
    pause.signal(libc::SIGTERM);
    assert_eq!(pause.exit().code(), Some(0));
}

#[test]
fn a_stop_request_from_before_its_exec_is_kept() {
    let mut command = command();
    before_exec(&mut command, || {
        block_all_signals();
        // SAFETY: sends a blocked signal to the calling process.
        unsafe { libc::raise(libc::SIGTERM) };
        Ok(())
    });
    let mut pause = Pause(command.spawn().expect("failed to start the pause"));
    assert_eq!(pause.exit().code(), Some(0));
}

#[test]
fn dash_v_prints_the_version() {
    let version = |stdout: Stdio| {
        let spawned = command().arg("-v").stdout(stdout).spawn();
        let mut pause = Pause(spawned.expect("failed to start the pause"));
        let code = pause.exit().code();
        (code, text_of(pause.0.stdout.take()))
    };
    let expected = concat!("pause ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(version(Stdio::piped()), (Some(0), expected.to_owned()));

    let full = fs::File::create("/dev/full").expect("failed to open /dev/full");
    assert_eq!(version(full.into()).0, Some(1), "a version nobody got");
}

#[test]
fn it_says_so_when_it_is_not_pid_1_and_stays() {
    for place in places() {
        let stderr = said(place, |_| ());
        let warned = stderr.contains("not pid 1") && stderr.lines().count() == 1;
        assert_eq!(warned, place == Place::Ordinary, "{stderr:?}");
        assert_eq!(stderr.is_empty(), place == Place::Pid1, "{stderr:?}");
    }
}

#[test]
fn it_says_so_when_it_does_not_know_an_argument_and_stays() {
    for arguments in [&["--version"][..], &["-vv"], &["", "x"]] {
        let stderr = said(Place::Ordinary, |command| {
            command.args(arguments);
        });
        let warnings = stderr
            .lines()
            .filter(|line| line.contains("arguments"))
            .count();
        assert_eq!(warnings, 1, "{arguments:?}: {stderr:?}");
    }
}

#[test]
fn it_is_one_thread_with_no_file_of_its_own() {
    let pause = Pause::start(Place::Ordinary, |_| ());
    assert_eq!(pause.entries("task").len(), 1, "threads");
    let mut files = pause.entries("fd");
    files.sort();
    assert_eq!(files, ["0", "1", "2"], "open files");
}

#[test]
fn its_file_is_small_static_and_has_no_writable_code() {
    const PT_INTERP: u32 = 3;
    const PT_GNU_STACK: u32 = 0x6474_e551;
    const EXECUTE: u32 = 1;
    const WRITE: u32 = 2;

    let file = fs::read(pause_binary()).expect("failed to read the pause binary");
    assert!(file.len() <= 16 << 10, "{} bytes", file.len());

    let u16_at = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| file[at + byte]));
    // Elf64_Ehdr: e_phoff, e_phentsize, e_phnum; Elf64_Phdr: p_type, p_flags.
    let (start, size, count) = (u32_at(0x20) as usize, u16_at(0x36), u16_at(0x38));
    let segments: Vec<(u32, u32)> = (0..count)
        .map(|index| start + index * size)
        .map(|at| (u32_at(at), u32_at(at + 4)))
        .collect();
    let both = EXECUTE | WRITE;
    assert!(
        segments.iter().all(|(_, flags)| flags & both != both),
        "{segments:x?}"
    );
    assert!(
        segments.iter().all(|(kind, _)| *kind != PT_INTERP),
        "{segments:x?}"
    );
    assert!(
        segments.iter().any(|(kind, _)| *kind == PT_GNU_STACK),
        "{segments:x?}"
    );
}

/// A running pause; killed and waited for when the test ends, however it does.
struct Pause(Child);

impl Drop for Pause {
    fn drop(&mut self) {
        // Both fail only when it has been waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pause {
    /// Starts one and waits until it sleeps with all its dispositions set.
    fn start(place: Place, adjust: impl FnOnce(&mut Command)) -> Pause {
        let mut command = command();
        adjust(&mut command);
        let pause = Pause(place.spawn(command));
        let last = 1_u64 << (libc::SIGRTMAX() - 1);
        pause.wait_until("it is set up", |pause| {
            let asleep = pause.status("State").starts_with('S');
            asleep && pause.signals("SigBlk") == 0 && pause.signals("SigIgn") & last != 0
        });
        pause
    }

    fn signal(&self, signal: i32) {
        // SAFETY: only sends a signal; the process is our child and not waited for, so the pid is still its own.
        let result = unsafe { libc::kill(self.0.id() as i32, signal) };
        assert_eq!(
            result,
            0,
            "failed to send signal {signal}: {}",
            io::Error::last_os_error()
        );
    }

    fn exit(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.0.try_wait().expect("failed to wait for the pause") {
                Some(status) => return status,
                None if Instant::now() > until => panic!("it did not end within {DEADLINE:?}"),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn wait_until(&self, what: &str, reached: impl Fn(&Pause) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !reached(self) {
            let status = self.proc("status");
            assert!(
                Instant::now() < until,
                "not within {DEADLINE:?}: {what}\n{status}"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.0.id());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("failed to read {path}: {error}"))
    }

    fn entries(&self, directory: &str) -> Vec<String> {
        let path = format!("/proc/{}/{directory}", self.0.id());
        let entries =
            fs::read_dir(&path).unwrap_or_else(|error| panic!("failed to list {path}: {error}"));
        entries
            .map(|entry| {
                entry
                    .expect("failed to list")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    fn status(&self, key: &str) -> String {
        let status = self.proc("status");
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
        value
            .unwrap_or_else(|| panic!("no {key} in:\n{status}"))
            .to_owned()
    }

    fn signals(&self, key: &str) -> u64 {
        u64::from_str_radix(&self.status(key), 16).expect("a set of signals is hexadecimal")
    }

    /// Pids of its children, zombies included.
    fn children(&self) -> Vec<String> {
        let children = self.proc(&format!("task/{}/children", self.0.id()));
        children.split_whitespace().map(str::to_owned).collect()
    }
}

/// The pause with no file of the test harness but the first three.
fn command() -> Command {
    let mut command = Command::new(pause_binary());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    before_exec(&mut command, || close_from(3, libc::CLOSE_RANGE_CLOEXEC));
    command
}

/// What a pause had written to stderr when it slept, and that it was still there to end with 0.
fn said(place: Place, adjust: impl FnOnce(&mut Command)) -> String {
    let mut pause = Pause::start(place, |command| {
        command.stderr(Stdio::piped());
        adjust(command);
    });
    pause.signal(libc::SIGTERM);
    assert_eq!(pause.exit().code(), Some(0));
    text_of(pause.0.stderr.take())
}

/// What an ended process had written to a pipe.
fn text_of(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_string(&mut text)
            .expect("failed to read what the pause wrote");
    }
    text
}

/// Where a pause runs.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// In the pid namespace of the tests.
    Ordinary,
    /// As the first process of a new pid namespace.
    Pid1,
}

/// Every place this user may put a process in.
fn places() -> impl Iterator<Item = Place> {
    let allowed = |place: &Place| match thread::scope(|scope| scope.spawn(|| place.enter()).join())
    {
        Ok(Ok(())) => true,
        Ok(Err(errno)) => {
            eprintln!("skipped: as pid 1 of a pid namespace: unshare: {errno} (needs root)");
            false
        }
        Err(panic) => std::panic::resume_unwind(panic),
    };
    [Place::Ordinary, Place::Pid1].into_iter().filter(allowed)
}

impl Place {
    /// Has the next child of the calling thread be born there. A pid namespace takes no process after its first has ended,
    /// so each wants a thread of its own.
    fn enter(self) -> nix::Result<()> {
        match self {
            Place::Ordinary => Ok(()),
            Place::Pid1 => unshare(CloneFlags::CLONE_NEWPID),
        }
    }

    fn spawn(self, mut command: Command) -> Child {
        let spawn = move || {
            self.enter().expect("failed to make a pid namespace");
            command.spawn().expect("failed to start the pause")
        };
        thread::spawn(spawn)
            .join()
            .expect("failed to start the pause")
    }
}

// What follows runs in the forked child of a test process with threads: system calls only, no allocation.

fn before_exec(command: &mut Command, act: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: every caller in this file passes a closure that makes system calls only.
    unsafe { command.pre_exec(act) };
}

/// Leaves `ORPHANS` processes behind that fall to the calling process and live until the other end of `wait` is closed.
fn leave_orphans(wait: &PipeReader) -> io::Result<()> {
    let wait = wait.as_raw_fd();
    nix::sys::prctl::set_child_subreaper(true)?;
    child(libc::SIGCHLD, || {
        for _ in 0..ORPHANS {
            if child(libc::SIGCHLD, || sleep_until_closed(wait)).is_err() {
                return;
            }
        }
    })
    .map(drop)
}

/// Forks a child that runs `act` and exits; its death is told to the parent by `exit_signal`, or not at all.
fn child(exit_signal: i32, act: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: no flags besides the exit signal, so this is a fork.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(exit_signal), 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            act();
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(pid as i32),
    }
}

/// Waits until `pid` is a zombie, and leaves it one.
fn await_death(pid: i32) -> io::Result<()> {
    // SAFETY: the kernel fills in a siginfo_t of ours.
    let result = unsafe {
        let mut info = std::mem::zeroed();
        libc::waitid(
            libc::P_PID,
            pid as u32,
            &mut info,
            libc::WEXITED | libc::WNOWAIT | libc::__WALL,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Keeps no file but `pipe`, so that nobody waits for this process, then sleeps until the pipe's writers are gone.
fn sleep_until_closed(pipe: RawFd) {
    // SAFETY: replaces stdin of a process that has no use for it.
    unsafe { libc::dup2(pipe, 0) };
    if close_from(1, 0).is_ok() {
        let mut byte = 0_u8;
        // SAFETY: reads at most one byte into one byte.
        unsafe { libc::read(0, (&raw mut byte).cast(), 1) };
    }
}

fn close_from(first: u32, flags: u32) -> io::Result<()> {
    // SAFETY: closes files (or marks them for it) in a forked child that owns its table of files.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn block_all_signals() {
    // SAFETY: fills a set of ours, then reads it.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

fn ignore(signal: i32) {
    // SAFETY: SIG_IGN runs no code; refused for SIGKILL, SIGSTOP and the C library's own.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}
