//! Processes: this one and its children.

use crate::{Args, Errno, File, SIGCHLD, arch, check, nr, syscall};

const ANY_CHILD: usize = -1_isize as usize;
const WNOHANG: usize = 0x1;
const WALL: usize = 0x4000_0000;

/// A child that has not been waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Child(usize);

/// A child that has been waited for.
pub struct Ended {
    /// The child.
    pub child: Child,
    /// Its exit code, or 128 plus the number of the signal that killed it, as in shells.
    pub code: usize,
}

/// The pid of this process in its pid namespace.
pub fn getpid() -> isize {
    // SAFETY: the call has no arguments and no effects.
    unsafe { syscall(nr::GETPID, 0, 0, 0, 0) }
}

/// Ends this process.
pub fn exit(code: usize) -> ! {
    loop {
        // SAFETY: ends the process; no memory is touched.
        unsafe { syscall(nr::EXIT_GROUP, code, 0, 0, 0) };
    }
}

/// Ends this process by a SIGSEGV that it causes itself. Only a handler could prevent that.
pub fn crash() -> ! {
    loop {
        arch::fault();
    }
}

/// Forks. Returns the child in the parent, and `None` in the child.
///
/// # Errors
/// EAGAIN if a limit on the number of processes is reached.
pub fn fork() -> Result<Option<Child>, Errno> {
    // SAFETY: without flags other than the exit signal this is a fork: no memory is shared, and the
    // kernel does not use the pointers.
    let result = unsafe { syscall(nr::CLONE, SIGCHLD as usize, 0, 0, 0) };
    check(result).map(|pid| (pid != 0).then_some(Child(pid)))
}

/// Executes the program whose path is the first of `args`. Returns only if that fails.
pub fn execute(args: &Args) -> Errno {
    let (path, argv, environment) = args.to_execute();
    // SAFETY: a C string and two null-terminated lists of C strings, as the kernel made them for
    // this program. If `args` is empty, the path is null, which the kernel refuses.
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
    /// Sends a signal to the child.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn signal(self, signal: i32) -> Result<(), Errno> {
        // SAFETY: the call does not affect the memory of this process.
        let result = unsafe { syscall(nr::KILL, self.0, signal as usize, 0, 0) };
        check(result).map(drop)
    }
}

/// Reaps one zombie. Returns false if there is none.
///
/// `__WALL` includes children that were cloned, before the exec of this program, with an exit
/// signal other than SIGCHLD or with none. After the exec of their parent the kernel sends SIGCHLD
/// for them (`do_notify_parent`, kernel/signal.c), but a plain wait still skips them
/// (`eligible_child`, kernel/exit.c).
pub fn reap_one() -> bool {
    // SAFETY: without pointers for status and resource usage the kernel writes nothing.
    let result = unsafe { syscall(nr::WAIT4, ANY_CHILD, 0, WNOHANG | WALL, 0) };
    result > 0
}

/// Reaps one child. If `blocking`, waits until one exits. Returns `None` if there is no zombie, or
/// no child.
pub fn wait(blocking: bool) -> Option<Ended> {
    let mut status = 0_i32;
    let options = if blocking { WALL } else { WNOHANG | WALL };
    // SAFETY: the kernel writes one int, to a variable that is alive.
    let result = unsafe { syscall(nr::WAIT4, ANY_CHILD, &raw mut status as usize, options, 0) };
    let pid = check(result).ok().filter(|pid| *pid != 0)?;
    let status = status.cast_unsigned();
    let (code, signal) = ((status >> 8 & 0xff) as usize, (status & 0x7f) as usize);
    Some(Ended {
        child: Child(pid),
        code: if signal == 0 { code } else { 128 + signal },
    })
}

/// A pidfd of this process, with which its children can wait for its exit.
///
/// # Errors
/// The error of the kernel.
pub fn own_handle() -> Result<File, Errno> {
    // SAFETY: the call does not affect memory.
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

/// Sleeps until the process of the pidfd `handle` has exited and its children have been reparented,
/// which the kernel does before it notifies the pidfd (`exit_notify`, kernel/exit.c).
///
/// # Errors
/// The error of the kernel; EINTR if a signal handler has run.
pub fn wait_for_end(handle: &File) -> Result<(), Errno> {
    const POLLIN: i16 = 0x1;
    let mut poll = Poll {
        file: handle.0 as i32,
        events: POLLIN,
        happened: 0,
    };
    // SAFETY: the kernel uses one `struct pollfd` that is alive, without a timeout and a mask.
    let result = unsafe { syscall(nr::PPOLL, &raw mut poll as usize, 1, 0, 0) };
    check(result).map(drop)
}

/// Sleeps for a number of milliseconds, or without limit. A signal handler ends the sleep. The
/// signal mask does not change.
///
/// # Errors
/// EINTR if a signal handler has run.
pub fn sleep(milliseconds: Option<usize>) -> Result<(), Errno> {
    let time = milliseconds.map(|all| [all / 1000, all % 1000 * 1_000_000]);
    let time = time.as_ref().map_or(0, |time| &raw const *time as usize);
    // SAFETY: no file is polled. The kernel reads a `struct timespec` (two words) if there is one.
    let result = unsafe { syscall(nr::PPOLL, 0, 0, time, 0) };
    check(result).map(drop)
}
