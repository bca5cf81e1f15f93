//! What a good pid 1 does, for the behaviours to keep or to break.

use nolibc::{
    Args, Child, Errno, SIGCHLD, SIGINT, SIGKILL, SIGNALS, SIGSTOP, SIGTERM, STDERR, Signals,
};

use crate::{fail, misused};

const EINTR: Errno = Errno(4);

/// Nothing is blocked.
pub(crate) const NONE: Signals = Signals::of(&[]);

/// What runs on a signal; without one the kernel does what it does by default.
pub(crate) type Handler = Option<extern "C" fn(i32)>;

/// How a behaviour takes its signals.
pub(crate) struct Settings {
    /// On SIGTERM and SIGINT.
    pub(crate) stop: Handler,
    /// On SIGCHLD.
    pub(crate) child: Handler,
    pub(crate) blocked: Signals,
}

/// Ends on a stop signal, reaps its children.
pub(crate) const GOOD: Settings = Settings {
    stop: Some(end),
    child: Some(reap),
    blocked: NONE,
};

/// Handles nothing, as a program that has never heard of signals.
pub(crate) const DEFAULT: Settings = Settings {
    stop: None,
    child: None,
    blocked: NONE,
};

/// Sets every disposition and then the mask, whatever was inherited.
pub(crate) fn settle(settings: &Settings) {
    let handler = |signal| match signal {
        SIGTERM | SIGINT => settings.stop,
        SIGCHLD => settings.child,
        _ => None,
    };
    settle_each(handler, &settings.blocked);
    // One that died before the handler was there sent a SIGCHLD that nobody kept.
    if let Some(reap) = settings.child {
        reap(SIGCHLD);
    }
}

/// Sets the disposition that `handler` says of each signal, and then the mask.
pub(crate) fn settle_each(handler: impl Fn(i32) -> Handler, blocked: &Signals) {
    let mut catchable = SIGNALS.filter(|signal| !matches!(*signal, SIGKILL | SIGSTOP));
    let set = catchable.all(|signal| match handler(signal) {
        Some(handler) => nolibc::catch(signal, handler),
        None => nolibc::default(signal),
    });
    if !(set && nolibc::mask(blocked)) {
        nolibc::write(
            STDERR,
            b"workload: failed to set up signal handling: a seccomp filter forbids it?\n",
        );
        nolibc::exit(1);
    }
}

pub(crate) extern "C" fn end(_signal: i32) {
    nolibc::exit(0)
}

pub(crate) extern "C" fn reap(_signal: i32) {
    while nolibc::reap_one() {}
}

/// Sleeps until a handler, or the kernel, ends this process. The mask stays as it is.
pub(crate) fn live_on() -> ! {
    loop {
        sleep(None);
    }
}

/// Sleeps, but not longer than until a handler has run.
pub(crate) fn sleep(milliseconds: Option<usize>) {
    match nolibc::sleep(milliseconds) {
        Ok(()) | Err(EINTR) => {}
        Err(errno) => fail("sleep", errno),
    }
}

/// Forks a child that does nothing but `child`, and then ends with 0.
pub(crate) fn fork(child: impl FnOnce()) -> Child {
    match nolibc::fork() {
        Ok(Some(forked)) => forked,
        Ok(None) => {
            child();
            nolibc::exit(0)
        }
        Err(errno) => fail("fork", errno),
    }
}

/// Starts the command that the arguments are, as a shell does: with default dispositions and an empty mask.
pub(crate) fn start(command: &Args) -> Child {
    if command.is_empty() {
        misused();
    }
    fork(|| {
        settle(&DEFAULT);
        fail("execute the command", nolibc::execute(command))
    })
}
