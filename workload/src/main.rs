//! `workload BEHAVIOUR [ARGUMENT…]`: what the containers of the OCI image run, beside `pause`.
//!
//! A pod whose containers do exactly one thing, right or wrong, shows whether a real runtime and the verifier agree about it.
//! So this program has one behaviour for each promise; [`BEHAVIOURS`] lists them, and `workload --help` prints that list. It
//! needs nothing of its root file system: no libc, no shell, no /proc.
//!
//! What every behaviour that lives on has in common, unless it is the very thing it does wrong: SIGTERM and SIGINT end it
//! with exit code 0, and every child is reaped. Dispositions and mask are set from scratch, whatever was inherited. A broken
//! behaviour breaks one promise and keeps the others. Each can also be the entrypoint of a sandbox, as a broken pause.

#![forbid(unsafe_code)]
#![no_std]
#![no_main]

mod faulty;
mod init;
mod sound;

use nolibc::{Arg, Args, Errno, STDERR, STDOUT};

/// One thing that the program can do.
struct Behaviour {
    name: &'static str,
    /// The arguments it takes, as the help shows them.
    takes: &'static str,
    about: &'static str,
    run: fn(Args) -> !,
}

#[rustfmt::skip]
const BEHAVIOURS: [Behaviour; 19] = [
    Behaviour { name: "serve", takes: " [--port PORT]", run: sound::serve,
        about: "lives on; accepts connections on PORT" },
    Behaviour { name: "true", takes: "", run: sound::succeed,
        about: "ends with 0" },
    Behaviour { name: "exit", takes: " CODE", run: sound::exit,
        about: "ends with CODE" },
    Behaviour { name: "connect", takes: " PORT", run: sound::connect,
        about: "ends with 0 when PORT of 127.0.0.1 takes a connection, else with 1" },
    Behaviour { name: "shell", takes: " COMMAND...", run: sound::shell,
        about: "runs COMMAND, passes signals on to it, reaps, and ends as it ends" },
    Behaviour { name: "wait", takes: "", run: sound::wait,
        about: "sleeps with default dispositions: a probe that hangs" },
    Behaviour { name: "orphan", takes: " N", run: sound::orphan,
        about: "ends and leaves N orphans, which end when somebody else is their parent" },
    Behaviour { name: "leave", takes: " N", run: sound::leave,
        about: "ends and leaves N orphans, which live on" },
    Behaviour { name: "ignore-term", takes: "", run: faulty::ignore_term,
        about: "lives on with default dispositions: as pid 1 no SIGTERM reaches it" },
    Behaviour { name: "block-term", takes: "", run: faulty::block_term,
        about: "lives on with SIGTERM blocked" },
    Behaviour { name: "exit-on-term", takes: " CODE", run: faulty::exit_on_term,
        about: "lives on; SIGTERM and SIGINT end it with CODE" },
    Behaviour { name: "exit-on-signal", takes: "", run: faulty::exit_on_signal,
        about: "lives on until any signal, SIGCHLD too, ends it with 0" },
    Behaviour { name: "no-forward", takes: " COMMAND...", run: faulty::no_forward,
        about: "runs COMMAND and keeps SIGTERM and SIGINT to itself; ends as it ends" },
    Behaviour { name: "no-reap", takes: " [N [MILLISECONDS]]", run: faulty::no_reap,
        about: "lives on and reaps nobody; makes N zombies, one every MILLISECONDS" },
    Behaviour { name: "fork-loop", takes: " [N]", run: faulty::fork_loop,
        about: "forks and reaps N children one after the other, or does so for ever" },
    Behaviour { name: "crash", takes: "", run: faulty::crash,
        about: "dies of SIGSEGV" },
    Behaviour { name: "eat-memory", takes: " MIB", run: faulty::eat_memory,
        about: "takes so much memory, and lives on if it may" },
    Behaviour { name: "unshare", takes: " ipc|net|uts", run: faulty::unshare,
        about: "leaves that namespace for a new one, and lives on; needs CAP_SYS_ADMIN" },
    Behaviour { name: "join", takes: " FILE", run: faulty::join,
        about: "enters the namespace that FILE is, and lives on; needs CAP_SYS_ADMIN" },
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
        name, takes, about, ..
    } in &BEHAVIOURS
    {
        for part in ["  ", name, takes, "\n        ", about, "\n"] {
            nolibc::write(file, part.as_bytes());
        }
    }
    nolibc::exit(code)
}

/// The arguments were not what the behaviour takes.
fn misused() -> ! {
    usage(STDERR, 2)
}

/// The next argument must be a number.
fn number(args: &mut Args) -> usize {
    match args.next().as_ref().and_then(Arg::number) {
        Some(number) => number,
        None => misused(),
    }
}

/// The next argument if there is one, which must be a number.
fn optional_number(args: &mut Args) -> Option<usize> {
    let number = |arg: Arg| arg.number().unwrap_or_else(|| misused());
    args.next().map(number)
}

/// The next argument must be an exit code.
fn code(args: &mut Args) -> usize {
    match number(args) {
        code @ 0..=255 => code,
        _ => misused(),
    }
}

/// The next argument must be a port.
fn port(args: &mut Args) -> u16 {
    match u16::try_from(number(args)) {
        Ok(port) => port,
        Err(_) => misused(),
    }
}

fn end_of(mut args: Args) {
    if args.next().is_some() {
        misused()
    }
}

/// Ends with 1 and says why: `what` fits "failed to …".
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
