//! Tests from outside that the reference pause keeps the promises of its crate documentation:
//! signals, reaping, size. It runs as pid 1 of a pid namespace (which needs root) and as an
//! ordinary process.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::process::{Command, Stdio};

use nix::libc;
use pause_trace_tests::{
    elf, pause_binary,
    process::{Place, Process, before_exec, close_from, command},
};

const ORPHANS: usize = 1000;

/// The system call that an idle pause blocks in.
const REST: libc::c_long = libc::SYS_rt_sigsuspend;

#[test]
fn sigterm_and_sigint_end_it_with_0() {
    for place in Place::each() {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let mut pause = start(place, |_| ());
            pause.signal(signal);
            assert_eq!(pause.exit().code(), Some(0), "after signal {signal}");
        }
    }
}

#[test]
fn no_other_signal_ends_or_stops_it() {
    for place in Place::each() {
        let mut pause = start(place, |_| ());
        let others = (1..=libc::SIGRTMAX()).filter(|signal| {
            ![libc::SIGTERM, libc::SIGINT, libc::SIGKILL, libc::SIGSTOP].contains(signal)
        });
        // A fatal signal sets the exit status when it is sent, and a stopped process does not
        // handle SIGTERM. The status below detects both.
        others.for_each(|signal| pause.signal(signal));
        pause.settle();
        for pending in ["SigPnd", "ShdPnd"] {
            assert!(
                pause.signals(pending).is_empty(),
                "{:?}",
                pause.signals(pending)
            );
        }
        pause.signal(libc::SIGTERM);
        assert_eq!(pause.exit().code(), Some(0));
    }
}

#[test]
fn a_thousand_orphans_that_die_at_once_are_all_reaped() {
    for place in Place::each() {
        let (wait, release) = io::pipe().expect("failed to make a pipe");
        let mut pause = start(place, |command| {
            before_exec(command, move || leave_orphans(&wait));
        });
        assert_eq!(
            pause.children().len(),
            ORPHANS,
            "the orphans are reparented to the pause"
        );
        drop::<PipeWriter>(release);
        pause.reaps_all();
        pause.signal(libc::SIGTERM);
        assert_eq!(pause.exit().code(), Some(0));
    }
}

#[test]
fn children_from_before_its_exec_are_reaped() {
    for exit_signal in [libc::SIGCHLD, 0] {
        let (wait, release) = io::pipe().expect("failed to make a pipe");
        let pause = start(Place::Ordinary, |command| {
            before_exec(command, move || {
                let dead = child(exit_signal, || ())?;
                await_death(dead)?;
                let alive = wait.as_raw_fd();
                child(exit_signal, || sleep_until_closed(alive)).map(drop)
            });
        });
        assert_eq!(pause.children().len(), 1, "the dead child is reaped");
        drop(release);
        pause.reaps_all();
    }
}

#[test]
fn inherited_signal_settings_do_not_matter() {
    let mut pause = start(Place::Ordinary, |command| {
        before_exec(command, || {
            block_all_signals();
            (1..=libc::SIGRTMAX()).for_each(ignore);
            Ok(())
        });
    });
    let caught = [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD];
    assert_eq!(pause.signals("SigCgt"), caught.into());
    pause.signal(libc::SIGTERM);
    assert_eq!(pause.exit().code(), Some(0));
}

#[test]
fn a_stop_request_from_before_its_exec_is_kept() {
    let mut command = command(&pause_binary());
    before_exec(&mut command, || {
        block_all_signals();
        // SAFETY: sends a blocked signal to the calling process.
        unsafe { libc::raise(libc::SIGTERM) };
        Ok(())
    });
    let mut pause = Process::spawn(Place::Ordinary, command, REST);
    assert_eq!(pause.exit().code(), Some(0));
}

#[test]
fn dash_v_prints_the_version() {
    let version = |stdout: Stdio| {
        let mut command = command(&pause_binary());
        command.arg("-v").stdout(stdout);
        let mut pause = Process::spawn(Place::Ordinary, command, REST);
        let code = pause.exit().code();
        (code, text_of(pause.child.stdout.take()))
    };
    let expected = concat!("pause ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(version(Stdio::piped()), (Some(0), expected.to_owned()));

    let full = fs::File::create("/dev/full").expect("failed to open /dev/full");
    assert_eq!(
        version(full.into()).0,
        Some(1),
        "a version that was not written"
    );
}

#[test]
fn it_warns_when_it_is_not_pid_1_and_stays() {
    for place in Place::each() {
        let stderr = stderr_of(place, |_| ());
        let warned = stderr.contains("not pid 1") && stderr.lines().count() == 1;
        assert_eq!(warned, place == Place::Ordinary, "{stderr:?}");
        assert_eq!(stderr.is_empty(), place == Place::Pid1, "{stderr:?}");
    }
}

#[test]
fn it_warns_of_an_unknown_argument_and_stays() {
    for arguments in [&["--version"][..], &["-vv"], &["", "x"]] {
        let stderr = stderr_of(Place::Ordinary, |command| {
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
    let pause = start(Place::Ordinary, |_| ());
    assert_eq!(pause.entries("task").len(), 1, "threads");
    let mut files = pause.entries("fd");
    files.sort();
    assert_eq!(files, ["0", "1", "2"], "open files");
}

#[test]
fn its_file_is_small_static_and_has_no_writable_code() {
    elf::assert_small_static_and_without_writable_code(&pause_binary(), 2 << 10);
}

/// Starts a pause and waits until it is idle.
fn start(place: Place, adjust: impl FnOnce(&mut Command)) -> Process {
    let mut command = command(&pause_binary());
    adjust(&mut command);
    let pause = Process::start(place, command, REST);
    assert!(pause.signals("SigBlk").is_empty(), "nothing is blocked");
    assert!(pause.signals("SigIgn").contains(&libc::SIGRTMAX()));
    pause
}

/// The stderr of an idle pause. Asserts that it still runs and then ends with 0.
fn stderr_of(place: Place, adjust: impl FnOnce(&mut Command)) -> String {
    let mut pause = start(place, |command| {
        command.stderr(Stdio::piped());
        adjust(command);
    });
    pause.signal(libc::SIGTERM);
    assert_eq!(pause.exit().code(), Some(0));
    text_of(pause.child.stderr.take())
}

/// The output of an ended process in a pipe.
fn text_of(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_string(&mut text)
            .expect("failed to read what the pause wrote");
    }
    text
}

// What follows runs in the forked child of a test process with threads: system calls only, no
// allocation.

/// Leaves `ORPHANS` processes that are reparented to the calling process and live until the other
/// end of `wait` is closed. Their former parent is a zombie.
fn leave_orphans(wait: &PipeReader) -> io::Result<()> {
    let wait = wait.as_raw_fd();
    nix::sys::prctl::set_child_subreaper(true)?;
    let parent = child(libc::SIGCHLD, || {
        for _ in 0..ORPHANS {
            if child(libc::SIGCHLD, || sleep_until_closed(wait)).is_err() {
                return;
            }
        }
    })?;
    await_death(parent)
}

/// Forks a child that runs `act` and exits. The parent gets `exit_signal` when it dies, or no
/// signal if that is 0.
fn child(exit_signal: i32, act: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: no flags besides the exit signal, so this is a fork.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(exit_signal), 0, 0, 0, 0) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            act();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(pid as i32),
    }
}

/// Waits until `pid` is a zombie, and leaves it one.
fn await_death(pid: i32) -> io::Result<()> {
    // SAFETY: the kernel fills in a local siginfo_t.
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

/// Closes all files except `pipe`, so that nothing waits for this process, then blocks until the
/// pipe's writers are gone.
fn sleep_until_closed(pipe: RawFd) {
    // SAFETY: replaces stdin, which this process does not use.
    unsafe { libc::dup2(pipe, 0) };
    if close_from(1, 0).is_ok() {
        let mut byte = 0_u8;
        // SAFETY: reads at most one byte into one byte.
        unsafe { libc::read(0, (&raw mut byte).cast(), 1) };
    }
}

fn block_all_signals() {
    // SAFETY: fills and reads a local set.
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
