//! Processes: this one and its children.

use crate::{nr, syscall};

const ANY_CHILD: usize = -1_isize as usize;
const WNOHANG: usize = 0x1;
const WALL: usize = 0x4000_0000;

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
