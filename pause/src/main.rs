//! `pause`: the process that holds a pod's namespaces.
//!
//! A namespace exists as long as a process is in it. The pause is the first process of a pod, does
//! nothing, and runs until the pod ends. It is the reference for the verifier's rules about pauses,
//! and it can replace the pause of any runtime. It makes these promises:
//!
//! - **SIGTERM and SIGINT end it with exit code 0.** Each has a handler that exits. The default
//!   action is not enough, because the kernel drops signals without a handler for pid 1 of a pid
//!   namespace ([`sig_task_ignored`]). The handlers are installed before anything else, so that a
//!   stop signal sent shortly after the exec finds its handler.
//! - **It reaps every child.** In a shared pid namespace the kernel reparents each orphan of the
//!   pod to this process. One SIGCHLD may stand for many children, so the handler reaps until no
//!   zombie is left. SIGCHLD is blocked while its handler runs: if a child exits after the last
//!   wait, the signal becomes pending and the handler runs again. All reaping happens in the
//!   handler, so there is no gap between a check and a sleep. The SIGCHLD of a child that exited
//!   before the handler was installed is lost, so the program reaps once after the setup.
//! - **No other signal ends it.** All other signals are *ignored* rather than blocked: the kernel
//!   drops them when they are sent, so none stays pending. For pid 1 the kernel would drop them
//!   anyway; this way it also does in the host's pid namespace. A real fault still kills the pause,
//!   because the kernel resets the disposition of an ignored SIGSEGV that it forces
//!   ([`force_sig_info_to_task`]).
//! - **Inherited signal settings do not matter.** The program sets every disposition and only then
//!   empties the signal mask, so a parent that blocked SIGTERM or ignored SIGCHLD cannot break it,
//!   and pending signals are delivered to their handlers.
//! - **It uses almost no resources.** No libc, no heap, no thread, no writable data, no open file
//!   of its own: one page of code, and the stack. It closes no file, because it opens none.
//! - **It runs even in an unexpected environment.** If it is not pid 1, or has unknown arguments,
//!   it writes one line to stderr and continues, as other pauses do. It exits with code 1 only if
//!   the kernel refuses a signal handler, because it could not keep the promises above.
//!
//! `-v` prints the version and exits with code 0.
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

fn main(mut args: Args) -> ! {
    if !set_up_signals() {
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

/// Sets every disposition and empties the mask. The handlers are first and the mask is last, so
/// that no signal is lost or kills the process in between.
fn set_up_signals() -> bool {
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
