//! Broken pauses for the faults; each breaks one promise.
//!
//! `pause-trace __pause KIND` runs this executable as a sandbox's pause. When it has set its signal
//! dispositions, it sends itself SIGURG, which it ignores, so that the verifier observes that it is
//! ready.

use std::{
    convert::Infallible,
    ffi::{CString, OsString},
    fs, hint,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::symlink,
    process::ExitCode,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{SigHandler, SigSet, Signal, raise},
    unistd,
};

use super::protocol::{Failure, Step};
use crate::sys;

/// The signal that it sends itself when it is ready.
pub(crate) const READY: Signal = Signal::SIGURG;

/// The signal on which a pause that waits for a cue misbehaves.
pub(crate) const CUE: Signal = Signal::SIGUSR1;

/// The memory that [`Broken::BigMemory`] allocates.
const BIG_MEMORY: usize = 64 << 20;

/// The number of helpers or listeners, which is more than a pause may have.
const TOO_MANY: usize = 3;

/// How long [`Broken::Spins`] and [`Broken::Leaks`] behave at first.
const LATER: Duration = Duration::from_millis(500);

/// The path under which [`Broken::ReExec`] executes itself again.
const OTHER: &str = "/dev/shm/not-pause";

/// The kinds of broken pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It has no handler for SIGCHLD and never waits.
    NoReap,
    /// Any caught signal ends it, SIGCHLD too: `pause(); return 0;`.
    FirstSignal,
    /// SIGTERM is blocked.
    BlocksTerm,
    /// It exits with 1 on SIGTERM.
    ExitsOne,
    /// It has children of its own.
    ForksHelpers,
    /// It listens on TCP ports.
    OpensSockets,
    /// It allocates 64 MiB.
    BigMemory,
    /// It uses the CPU without end, from [`LATER`] on.
    Spins,
    /// It opens a descriptor each [`LATER`].
    Leaks,
    /// It executes another file.
    ReExec,
    /// On cue it allocates memory until it is killed.
    Hungry,
    /// On cue it ends with a segmentation fault.
    Crashes,
}

impl Broken {
    const ALL: [Self; 12] = [
        Self::NoReap,
        Self::FirstSignal,
        Self::BlocksTerm,
        Self::ExitsOne,
        Self::ForksHelpers,
        Self::OpensSockets,
        Self::BigMemory,
        Self::Spins,
        Self::Leaks,
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
            Self::Spins => "spins",
            Self::Leaks => "leaks",
            Self::ReExec => "re-exec",
            Self::Hungry => "hungry",
            Self::Crashes => "crashes",
        }
    }

    /// The arguments that run this executable as this kind.
    pub(crate) fn argv(self) -> Vec<String> {
        ["/pause", "__pause", self.name()]
            .map(str::to_owned)
            .to_vec()
    }
}

/// Runs a broken pause.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args
        .into_iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let kind = Broken::ALL
        .into_iter()
        .find(|kind| args.first().is_some_and(|name| name == kind.name()));
    let Some(kind) = kind else {
        eprintln!("pause-trace: unknown broken pause: {}", args.join(" "));
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
    set_dispositions(kind).step("set the signal dispositions")?;
    match kind {
        Broken::ForksHelpers => {
            for _ in 0..TOO_MANY {
                if sys::fork().step("fork a helper")?.is_none() {
                    idle();
                }
            }
        }
        Broken::OpensSockets => {
            for _ in 0..TOO_MANY {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).step("listen")?;
                std::mem::forget(listener);
            }
        }
        Broken::BigMemory => std::mem::forget(hint::black_box(vec![1_u8; BIG_MEMORY])),
        _ => {}
    }
    raise(READY).step("report that it is ready")?;
    if matches!(kind, Broken::Spins | Broken::Leaks) {
        loop {
            thread::sleep(LATER);
            if kind == Broken::Spins {
                loop {
                    hint::spin_loop();
                }
            }
            std::mem::forget(fs::File::open("/dev/null").step("open /dev/null")?);
        }
    }
    if matches!(kind, Broken::Hungry | Broken::Crashes) {
        SigSet::from(CUE).wait().step("await its cue")?;
        if kind == Broken::Crashes {
            sys::crash();
        }
        sys::eat_memory();
    }
    idle()
}

fn set_dispositions(kind: Broken) -> nix::Result<()> {
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
        // sigwait receives the cue, which must not be ignored.
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

/// Returns only if the exec failed.
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
