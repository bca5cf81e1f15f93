//! `workload BEHAVIOUR [ARGUMENT…]`: the program in the containers of the OCI image, beside
//! `pause`.
//!
//! A pod whose containers do exactly one thing, right or wrong, shows whether a real runtime and
//! the verifier agree about it. So this program has one behaviour for each promise; [`BEHAVIOURS`]
//! lists them, and `workload --help` prints the list. It needs nothing in its root file system: no
//! libc, no shell, no /proc.
//!
//! Every behaviour that keeps running exits with code 0 on SIGTERM and SIGINT and reaps its
//! children, unless this is the promise that it breaks. It sets all dispositions and the mask, so
//! inherited settings do not matter. A faulty behaviour breaks one promise and keeps the others.
//! Each can also be the entrypoint of a sandbox, as a broken pause.

#![forbid(unsafe_code)]
#![no_std]
#![no_main]

mod faulty;
mod init;
mod sound;

use nolibc::{Arg, Args, Errno, STDERR, STDOUT};

/// A behaviour of the program.
struct Behaviour {
    name: &'static str,
    /// The arguments, as the help shows them.
    arguments: &'static str,
    about: &'static str,
    run: fn(Args) -> !,
}

#[rustfmt::skip]
const BEHAVIOURS: [Behaviour; 22] = [
    Behaviour { name: "serve", arguments: " [--port PORT]", run: sound::serve,
        about: "keeps running; accepts connections on PORT" },
    Behaviour { name: "listen-late", arguments: " PORT [--ipv6]", run: sound::listen_late,
        about: "binds PORT, listens on it when it gets SIGUSR1, and keeps running" },
    Behaviour { name: "true", arguments: "", run: sound::succeed,
        about: "exits with 0" },
    Behaviour { name: "exit", arguments: " CODE", run: sound::exit,
        about: "exits with CODE" },
    Behaviour { name: "connect", arguments: " PORT", run: sound::connect,
        about: "exits with 0 if PORT of 127.0.0.1 accepts a connection, otherwise with 1" },
    Behaviour { name: "shell", arguments: " COMMAND...", run: sound::shell,
        about: "runs COMMAND, forwards signals to it, reaps, and exits with its code" },
    Behaviour { name: "wait", arguments: "", run: sound::wait,
        about: "sleeps with default dispositions, like a probe that hangs" },
    Behaviour { name: "orphan", arguments: " N", run: sound::orphan,
        about: "exits and leaves N orphans, which exit when they have been reparented" },
    Behaviour { name: "leave", arguments: " N", run: sound::leave,
        about: "exits and leaves N orphans, which keep running" },
    Behaviour { name: "ignore-term", arguments: "", run: faulty::ignore_term,
        about: "keeps running with default dispositions: as pid 1 it receives no SIGTERM" },
    Behaviour { name: "block-term", arguments: "", run: faulty::block_term,
        about: "keeps running with SIGTERM blocked" },
    Behaviour { name: "exit-on-term", arguments: " CODE", run: faulty::exit_on_term,
        about: "keeps running; exits with CODE on SIGTERM and SIGINT" },
    Behaviour { name: "exit-on-signal", arguments: "", run: faulty::exit_on_signal,
        about: "keeps running; exits with 0 on any signal, including SIGCHLD" },
    Behaviour { name: "no-forward", arguments: " COMMAND...", run: faulty::no_forward,
        about: "runs COMMAND, does not forward SIGTERM and SIGINT, and exits with its code" },
    Behaviour { name: "abandon", arguments: " COMMAND...", run: faulty::abandon,
        about: "runs COMMAND, and exits with 0 on SIGTERM and SIGINT, at once and without telling it" },
    Behaviour { name: "no-reap", arguments: " [N [MILLISECONDS]]", run: faulty::no_reap,
        about: "keeps running and never reaps; creates N zombies, one every MILLISECONDS" },
    Behaviour { name: "fork-loop", arguments: " [N]", run: faulty::fork_loop,
        about: "forks and reaps N children one after the other, or without end" },
    Behaviour { name: "crash", arguments: "", run: faulty::crash,
        about: "crashes with SIGSEGV" },
    Behaviour { name: "eat-memory", arguments: " MIB", run: faulty::eat_memory,
        about: "allocates MIB MiB of memory, and keeps running if that succeeds" },
    Behaviour { name: "unshare", arguments: " ipc|net|uts", run: faulty::unshare,
        about: "moves to a new namespace of this type, and keeps running; needs CAP_SYS_ADMIN" },
    Behaviour { name: "join", arguments: " FILE", run: faulty::join,
        about: "enters the namespace that FILE refers to, and keeps running; needs CAP_SYS_ADMIN" },
    Behaviour { name: "join-unseen", arguments: " FILE COMMAND...", run: faulty::join_unseen,
        about: "the same through the 32-bit entry of the kernel, and executes COMMAND" },
];

nolibc::start!(main);

fn main(mut args: Args) -> ! {
    let Some(name) = args.next() else {
        usage(STDERR, 2)
    };
    if name.is(b"--help") {
        usage(STDOUT, 0)
    }
    match BEHAVIOURS.iter().find(|one| name.is(one.name.as_bytes())) {
        Some(behaviour) => (behaviour.run)(args),
        None => usage(STDERR, 2),
    }
}

fn usage(file: usize, code: usize) -> ! {
    nolibc::write(file, b"usage: workload BEHAVIOUR\n");
    for Behaviour {
        name,
        arguments,
        about,
        ..
    } in &BEHAVIOURS
    {
        for part in ["  ", name, arguments, "\n        ", about, "\n"] {
            nolibc::write(file, part.as_bytes());
        }
    }
    nolibc::exit(code)
}

/// Exits because the arguments do not fit the behaviour.
fn misused() -> ! {
    usage(STDERR, 2)
}

/// The next argument, which must be a number.
fn number(args: &mut Args) -> usize {
    match args.next().as_ref().and_then(Arg::number) {
        Some(number) => number,
        None => misused(),
    }
}

/// The next argument, if there is one; it must be a number.
fn optional_number(args: &mut Args) -> Option<usize> {
    let number = |arg: Arg| arg.number().unwrap_or_else(|| misused());
    args.next().map(number)
}

/// The next argument, which must be an exit code.
fn code(args: &mut Args) -> usize {
    match number(args) {
        code @ 0..=255 => code,
        _ => misused(),
    }
}

/// The next argument, which must be a port.
fn port(args: &mut Args) -> u16 {
    match u16::try_from(number(args)) {
        Ok(port) => port,
        Err(_) => misused(),
    }
}

/// Checks that no argument is left.
fn end_of(mut args: Args) {
    if args.next().is_some() {
        misused()
    }
}

/// Exits with 1 after a message; `what` fits "failed to …".
fn fail(what: &str, Errno(errno): Errno) -> ! {
    let digits = [100, 10, 1].map(|unit| b'0' + (errno / unit % 10) as u8);
    let zeros = digits[..2].iter().take_while(|digit| **digit == b'0');
    let digits = &digits[zeros.count()..];
    let parts = [
        b"workload: failed to ",
        what.as_bytes(),
        b": errno ",
        digits,
        b"\n",
    ];
    for part in parts {
        nolibc::write(STDERR, part);
    }
    nolibc::exit(1)
}
