//! Pauses that each break one promise, for the faults to find.
//!
//! `pause-trace __pause KIND` is this executable once more, as a sandbox's pause. When its signals are set it sends itself
//! SIGURG, which means nothing to it: so the verifier sees, as it sees everything else, that it is ready.

use std::{
    convert::Infallible,
    ffi::{CString, OsString},
    fs, hint,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::symlink,
    process::ExitCode,
};

use nix::{
    sys::signal::{SigHandler, SigSet, Signal, raise},
    unistd,
};

use super::protocol::{Failure, Step};
use crate::sys;

/// What it says when it is ready.
pub(crate) const READY: Signal = Signal::SIGURG;

/// What makes a pause that waits for a cue do its worst.
pub(crate) const CUE: Signal = Signal::SIGUSR1;

/// What a greedy pause takes.
const GREED: usize = 64 << 20;

/// What a hungry one is content with, should nobody stop it.
const ENOUGH: usize = 512 << 20;

/// How many helpers, or listeners, are too many.
const FEW: usize = 3;

/// As what a pause executes itself once more.
const OTHER: &str = "/dev/shm/not-pause";

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It has no handler for SIGCHLD and never waits.
    NoReap,
    /// Any caught signal ends it, SIGCHLD too: `pause(); return 0;`.
    FirstSignal,
    /// SIGTERM is blocked.
    BlocksTerm,
    /// It ends on SIGTERM, with 1.
    ExitsOne,
    /// It has children of its own.
    ForksHelpers,
    /// It listens.
    OpensSockets,
    /// It takes 64 MiB.
    BigMemory,
    /// It becomes another file.
    ReExec,
    /// On cue it takes all that it gets.
    Hungry,
    /// On cue it dies of a SIGSEGV of its own.
    Crashes,
}

impl Broken {
    const ALL: [Self; 10] = [
        Self::NoReap,
        Self::FirstSignal,
        Self::BlocksTerm,
        Self::ExitsOne,
        Self::ForksHelpers,
        Self::OpensSockets,
        Self::BigMemory,
        Self::ReExec,
        Self::Hungry,
        Self::Crashes,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NoReap => "no-reap",
            Self::FirstSignal => "first-signal",
            Self::BlocksTerm => "blocks-term",
            Self::ExitsOne => "exits-1",
            Self::ForksHelpers => "forks-helpers",
            Self::OpensSockets => "opens-sockets",
            Self::BigMemory => "big-memory",
            Self::ReExec => "re-exec",
            Self::Hungry => "hungry",
            Self::Crashes => "crashes",
        }
    }

    /// The arguments that make this executable one.
    pub(crate) fn argv(self) -> Vec<String> {
        ["/pause", "__pause", self.name()]
            .map(str::to_owned)
            .to_vec()
    }
}

/// Holds the pod, badly.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args
        .into_iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let kind = Broken::ALL
        .into_iter()
        .find(|kind| args.first().is_some_and(|name| name == kind.name()));
    let Some(kind) = kind else {
        eprintln!("pause-trace: no broken pause is called {}", args.join(" "));
        return ExitCode::FAILURE;
    };
    let Err(failure) = hold(kind, args.len() > 1);
    eprintln!("pause-trace: the broken pause failed to {failure}");
    ExitCode::FAILURE
}

/// `is_again` after the exec of [`Broken::ReExec`].
fn hold(kind: Broken, is_again: bool) -> Result<Infallible, Failure> {
    if kind == Broken::ReExec && !is_again {
        return Err(execute_again());
    }
    take_signals(kind).step("set the signal dispositions")?;
    match kind {
        Broken::ForksHelpers => {
            for _ in 0..FEW {
                if sys::fork().step("fork a helper")?.is_none() {
                    idle();
                }
            }
        }
        Broken::OpensSockets => {
            for _ in 0..FEW {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).step("listen")?;
                std::mem::forget(listener);
            }
        }
        Broken::BigMemory => std::mem::forget(hint::black_box(vec![1_u8; GREED])),
        _ => {}
    }
    raise(READY).step("say that it is ready")?;
    if matches!(kind, Broken::Hungry | Broken::Crashes) {
        SigSet::from(CUE).wait().step("await its cue")?;
        if kind == Broken::Crashes {
            sys::crash();
        }
        let mut eaten = Vec::new();
        while eaten.len() < ENOUGH >> 20 {
            eaten.push(hint::black_box(vec![1_u8; 1 << 20]));
        }
    }
    idle()
}

fn take_signals(kind: Broken) -> nix::Result<()> {
    extern "C" fn end(_signal: i32) {
        sys::exit(0)
    }
    extern "C" fn end_badly(_signal: i32) {
        sys::exit(1)
    }
    let all =
        Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP));
    for signal in all {
        let handler = match (signal, kind) {
            (READY, _) => SigHandler::SigIgn,
            (Signal::SIGSEGV, Broken::Crashes) => SigHandler::SigDfl,
            (_, Broken::FirstSignal) => SigHandler::Handler(end),
            (Signal::SIGTERM, Broken::ExitsOne) => SigHandler::Handler(end_badly),
            (Signal::SIGTERM | Signal::SIGINT, _) => SigHandler::Handler(end),
            (Signal::SIGCHLD, Broken::NoReap) => SigHandler::SigDfl,
            (Signal::SIGCHLD, _) => SigHandler::Handler(sys::reap_all),
            _ => SigHandler::SigIgn,
        };
        // A cue is taken by waiting for it, for which it must not be ignored.
        let handler = if signal == CUE && waits_for_cue(kind) {
            SigHandler::SigDfl
        } else {
            handler
        };
        sys::on_signal(signal, handler)?;
    }
    if waits_for_cue(kind) {
        SigSet::from(CUE).thread_block()?;
    }
    if kind == Broken::BlocksTerm {
        SigSet::from(Signal::SIGTERM).thread_block()?;
    }
    Ok(())
}

fn waits_for_cue(kind: Broken) -> bool {
    matches!(kind, Broken::Hungry | Broken::Crashes)
}

fn idle() -> ! {
    loop {
        unistd::pause();
    }
}

/// Comes back only when it did not work.
fn execute_again() -> Failure {
    let again = || -> Result<Infallible, Failure> {
        symlink("/proc/self/exe", OTHER).step(format!("link {OTHER}"))?;
        let argv = Broken::ReExec
            .argv()
            .into_iter()
            .chain(["again".to_owned()]);
        let argv: Vec<_> = argv.filter_map(|arg| CString::new(arg).ok()).collect();
        unistd::execv(&CString::new(OTHER).unwrap_or_default(), &argv)
            .step(format!("execute {OTHER}"))
    };
    let Err(failure) = again();
    let _ = fs::remove_file(OTHER);
    failure
}
