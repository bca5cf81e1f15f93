//! The duties of pid 1, for the behaviours to keep or to break.

use nolibc::{
    Args, Child, Errno, SIGCHLD, SIGINT, SIGKILL, SIGNALS, SIGSTOP, SIGTERM, STDERR, Signals,
};

use crate::{fail, misused};

const EINTR: Errno = Errno(4);

/// No signals.
pub(crate) const NONE: Signals = Signals::of(&[]);

/// The handler of a signal; `None` for the default action.
pub(crate) type Handler = Option<extern "C" fn(i32)>;

/// The signal settings of a behaviour.
pub(crate) struct Settings {
    /// The handler of SIGTERM and SIGINT.
    pub(crate) stop: Handler,
    /// The handler of SIGCHLD.
    pub(crate) child: Handler,
    pub(crate) blocked: Signals,
}

/// Exits on a stop signal and reaps its children.
pub(crate) const GOOD: Settings = Settings {
    stop: Some(end),
    child: Some(reap),
    blocked: NONE,
};

/// Handles no signal.
pub(crate) const DEFAULT: Settings = Settings {
    stop: None,
    child: None,
    blocked: NONE,
};

/// Sets every disposition and then the mask, so that inherited settings do not matter.
pub(crate) fn settle(settings: &Settings) {
    let handler = |signal| match signal {
        SIGTERM | SIGINT => settings.stop,
        SIGCHLD => settings.child,
        _ => None,
    };
    settle_each(handler, &settings.blocked);
    // The SIGCHLD of a child that exited before the handler was installed is lost.
    if let Some(reap) = settings.child {
        reap(SIGCHLD);
    }
}

/// Sets the disposition of each signal to what `handler` returns, and then the mask.
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

/// Sleeps until a handler or the kernel ends this process. The mask does not change.
pub(crate) fn keep_running() -> ! {
    loop {
        sleep(None);
    }
}

/// Sleeps. A signal handler ends the sleep.
pub(crate) fn sleep(milliseconds: Option<usize>) {
    match nolibc::sleep(milliseconds) {
        Ok(()) | Err(EINTR) => {}
        Err(errno) => fail("sleep", errno),
    }
}

/// Forks a child that runs `child` and then exits with 0.
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

/// Starts the command in the arguments with default dispositions and an empty mask, as a shell
/// does.
pub(crate) fn start(command: &Args) -> Child {
    if command.is_empty() {
        misused();
    }
    fork(|| {
        settle(&DEFAULT);
        fail("execute the command", nolibc::execute(command))
    })
}
