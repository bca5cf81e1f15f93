//! Processes: this one and its children.

use crate::{Args, Errno, File, SIGCHLD, arch, check, nr, syscall};

const ANY_CHILD: usize = -1_isize as usize;
const WNOHANG: usize = 0x1;
const WALL: usize = 0x4000_0000;

/// A child that has not been waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Child(usize);

/// A child that has.
pub struct Ended {
    /// Which one.
    pub child: Child,
    /// Its exit code; 128 and the signal's number when a signal ended it, as shells count.
    pub code: usize,
}

/// This process, as its pid namespace numbers it.
pub fn getpid() -> isize {
    // SAFETY: takes nothing, touches nothing.
    unsafe { syscall(nr::GETPID, 0, 0, 0, 0) }
}

/// Ends this process.
pub fn exit(code: usize) -> ! {
    loop {
        // SAFETY: ends the process; no memory is touched.
        unsafe { syscall(nr::EXIT_GROUP, code, 0, 0, 0) };
    }
}

/// Ends this process by a SIGSEGV of its own, which no disposition but a handler keeps from it.
pub fn crash() -> ! {
    loop {
        arch::fault();
    }
}

/// Makes a child that goes on from here; for the child there is `None`.
///
/// # Errors
/// EAGAIN when a limit of processes is reached.
pub fn fork() -> Result<Option<Child>, Errno> {
    // SAFETY: no flags besides the exit signal, so that this is a fork: nothing is shared, and the pointers are not looked at.
    let result = unsafe { syscall(nr::CLONE, SIGCHLD as usize, 0, 0, 0) };
    check(result).map(|pid| (pid != 0).then_some(Child(pid)))
}

/// Becomes the program whose path is the first of `args`. Comes back only when that failed.
pub fn execute(args: &Args) -> Errno {
    let (path, argv, environment) = args.to_execute();
    // SAFETY: a C string and two lists of C strings with a closing null each, as the kernel made them for this program; an
    // empty `args` has a null path, which the kernel refuses.
    let result = unsafe {
        syscall(
            nr::EXECVE,
            path as usize,
            argv as usize,
            environment as usize,
            0,
        )
    };
    Errno(result.unsigned_abs())
}

impl Child {
    /// Sends it a signal.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn signal(self, signal: i32) -> Result<(), Errno> {
        // SAFETY: touches no memory of ours.
        let result = unsafe { syscall(nr::KILL, self.0, signal as usize, 0, 0) };
        check(result).map(drop)
    }
}

/// Reaps one dead child. False when none is dead.
///
/// `__WALL` takes a child that was cloned with another exit signal than SIGCHLD, or none, by whoever executed this
/// program: the kernel sends SIGCHLD for it since its parent's exec (`do_notify_parent`, kernel/signal.c), but a plain
/// wait still passes it over (`eligible_child`, kernel/exit.c).
pub fn reap_one() -> bool {
    // SAFETY: asks for neither status nor resource usage, so the kernel writes nothing.
    let result = unsafe { syscall(nr::WAIT4, ANY_CHILD, 0, WNOHANG | WALL, 0) };
    result > 0
}

/// Reaps one child, and waits for its death where `patient`. None when no child is dead, or none is there.
pub fn wait(patient: bool) -> Option<Ended> {
    let mut status = 0_i32;
    let options = if patient { WALL } else { WNOHANG | WALL };
    // SAFETY: the kernel writes one int to a live one.
    let result = unsafe { syscall(nr::WAIT4, ANY_CHILD, &raw mut status as usize, options, 0) };
    let pid = check(result).ok().filter(|pid| *pid != 0)?;
    let status = status.cast_unsigned();
    let (code, signal) = ((status >> 8 & 0xff) as usize, (status & 0x7f) as usize);
    Some(Ended {
        child: Child(pid),
        code: if signal == 0 { code } else { 128 + signal },
    })
}

/// A pidfd of this process, for its children to wait for its end.
///
/// # Errors
/// What the kernel says.
pub fn own_handle() -> Result<File, Errno> {
    // SAFETY: touches no memory.
    let result = unsafe { syscall(nr::PIDFD_OPEN, getpid().cast_unsigned(), 0, 0, 0) };
    check(result).map(File)
}

/// The kernel's `struct pollfd`.
#[repr(C)]
struct Poll {
    file: i32,
    events: i16,
    happened: i16,
}

/// Sleeps until the process that `handle` is a pidfd of has ended, and its children have fallen to somebody else: the
/// kernel says so only then (`exit_notify`, kernel/exit.c). A handler that ran ends the sleep, too.
///
/// # Errors
/// What the kernel says, EINTR when a handler has run.
pub fn wait_for_end(handle: &File) -> Result<(), Errno> {
    const POLLIN: i16 = 0x1;
    let mut poll = Poll {
        file: handle.0 as i32,
        events: POLLIN,
        happened: 0,
    };
    // SAFETY: one live `struct pollfd`; no time-out and no mask.
    let result = unsafe { syscall(nr::PPOLL, &raw mut poll as usize, 1, 0, 0) };
    check(result).map(drop)
}

/// Sleeps for so many milliseconds, or for ever, but not longer than until a handler has run. The signal mask stays as it
/// is.
///
/// # Errors
/// EINTR when a handler has run.
pub fn sleep(milliseconds: Option<usize>) -> Result<(), Errno> {
    let time = milliseconds.map(|all| [all / 1000, all % 1000 * 1_000_000]);
    let time = time.as_ref().map_or(0, |time| &raw const *time as usize);
    // SAFETY: no file is polled; the kernel reads a `struct timespec`, two words, or finds none.
    let result = unsafe { syscall(nr::PPOLL, 0, 0, time, 0) };
    check(result).map(drop)
}
