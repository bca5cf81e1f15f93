//! `pause`: the process that holds a pod.
//!
//! A pod's namespaces live as long as a process lives in them. This one is made first, does nothing, and is there until
//! the pod ends. It is the reference that the verifier's rules about pauses are tried against, and it can stand in for
//! the pause of any runtime. What it promises, and how:
//!
//! - **SIGTERM and SIGINT end it with exit code 0.** Each has a handler that exits. As pid 1 of a pid namespace a signal
//!   without a handler would be dropped ([`sig_task_ignored`]), so the default action is not enough. The two are caught
//!   before anything else is done: a stop request sent a moment after the exec finds its handler.
//! - **Every child is reaped.** With a shared pid namespace each orphan of the pod falls to this process. One SIGCHLD may
//!   stand for many children, so the handler waits until nobody is left to wait for. SIGCHLD is blocked while its handler
//!   runs: a child that dies after the last wait makes it pending, and the handler runs once more. All of it happens in
//!   the handler, so there is no gap between a check and a sleep. A child that died before the handler was there sent a
//!   SIGCHLD that nobody kept; one round of reaping right after the setup takes it.
//! - **Nothing else ends it.** All other signals are *ignored* rather than blocked: the kernel drops them when they are
//!   sent, and nothing stays pending. As pid 1 the kernel would do so anyway; this holds in the host's pid namespace too.
//!   A real fault still kills, as the kernel resets an ignored SIGSEGV that it forces ([`force_sig_info_to_task`]).
//! - **What it inherits does not matter.** Every disposition is set, and only then the signal mask is emptied: a parent
//!   that had SIGTERM blocked or SIGCHLD ignored cannot break it, and what was pending meets its handler.
//! - **It is next to nothing.** No libc, no heap, no thread, no writable data, no file of its own: one page of code, and
//!   the stack. It closes nothing, for it owns nothing.
//! - **It stays even when it is not as it should be.** When it isn't pid 1, or is given arguments it does not know, it says
//!   so on stderr in one line and holds the pod nevertheless, as the pause it stands in for would. It refuses (exit 1) only
//!   when the kernel refuses it a signal handler, because then the promises above could not be kept.
//!
//! `-v` prints the version and exits 0.
//!
//! [`sig_task_ignored`]: https://elixir.bootlin.com/linux/v6.12/A/ident/sig_task_ignored
//! [`force_sig_info_to_task`]: https://elixir.bootlin.com/linux/v6.12/A/ident/force_sig_info_to_task

#![forbid(unsafe_code)]
#![no_std]
#![no_main]

use nolibc::{Args, SIGCHLD, SIGINT, SIGKILL, SIGNALS, SIGSTOP, SIGTERM, STDERR, STDOUT};

const VERSION: &[u8] =
    concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n").as_bytes();

nolibc::start!(main);

/// Runs on the process's first stack, called by `_start` with what the kernel put there.
fn main(mut args: Args) -> ! {
    if !take_signals() {
        nolibc::write(
            STDERR,
            b"pause: failed to set up signal handling: a seccomp filter forbids it?\n",
        );
        nolibc::exit(1);
    }
    reap(SIGCHLD);

    let given = !args.is_empty();
    if args.any(|arg| arg.is(b"-v")) {
        let written = nolibc::write(STDOUT, VERSION);
        nolibc::exit(if written { 0 } else { 1 });
    }
    if given {
        nolibc::write(STDERR, b"pause: ignoring arguments: only -v is known\n");
    }
    if nolibc::getpid() != 1 {
        nolibc::write(
            STDERR,
            b"pause: not pid 1: orphans of this pod fall to another process\n",
        );
    }

    while nolibc::sleep_until_signal() {}
    nolibc::write(
        STDERR,
        b"pause: failed to wait for signals: a seccomp filter forbids it?\n",
    );
    nolibc::exit(1)
}

/// Replaces every disposition and empties the mask, in the order that leaves no moment in which a signal would do harm:
/// handlers first, the mask last.
fn take_signals() -> bool {
    nolibc::catch(SIGTERM, end)
        && nolibc::catch(SIGINT, end)
        && nolibc::catch(SIGCHLD, reap)
        && SIGNALS
            .filter(|signal| !matches!(*signal, SIGTERM | SIGINT | SIGCHLD | SIGKILL | SIGSTOP))
            .all(nolibc::ignore)
        && nolibc::unblock_all()
}

extern "C" fn end(_signal: i32) {
    nolibc::exit(0)
}

extern "C" fn reap(_signal: i32) {
    while nolibc::reap_one() {}
}
