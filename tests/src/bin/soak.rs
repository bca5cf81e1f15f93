//! Runs the soak: `cargo xtask soak`.
//!
//! A runtime that refuses makes the process that plays the plan panic, which ends it. So it is a
//! child, in a process group of its own, of a process that only waits: this one passes Ctrl-C on,
//! and kills and removes what the child could not.

use std::{
    env,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use pause_trace_tests::{lab, scratch, soak};
use tokio::signal::unix::{SignalKind, signal};

/// The first argument of the child.
const PLAY: &str = "play";

fn main() -> ExitCode {
    let mut args: Vec<_> = env::args().skip(1).collect();
    let is_child = args.first().is_some_and(|first| first == PLAY);
    if is_child {
        args.remove(0);
    }
    let Some(options) = options(&args) else {
        eprintln!("usage: soak SECONDS SEED [JSON]");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of tokio can be made");
    let guard = runtime.enter();
    let [mut interrupt, mut terminate] = [SignalKind::interrupt(), SignalKind::terminate()]
        .map(|kind| signal(kind).expect("the signal can be caught"));
    drop(guard);
    let signalled = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    if is_child {
        return soak::run(&options, move || runtime.block_on(signalled));
    }
    println!("soak: seed {}, {} s", options.seed, options.time.as_secs());
    supervise(&args, &options, runtime, signalled)
}

fn options(args: &[String]) -> Option<soak::Options> {
    let [seconds, seed, json @ ..] = args else {
        return None;
    };
    let seed = seed.parse().ok()?;
    Some(soak::Options {
        time: Duration::from_secs(seconds.parse().ok()?),
        seed,
        directory: scratch("soak").join(seed.to_string()),
        json: json.first().map(PathBuf::from),
    })
}

/// Runs the child, and cleans up after one that panicked.
fn supervise(
    args: &[String],
    options: &soak::Options,
    runtime: tokio::runtime::Runtime,
    signalled: impl Future<Output = ()> + Send + 'static,
) -> ExitCode {
    let child = Command::new("/proc/self/exe")
        .arg(PLAY)
        .args(args)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = child.expect("this program can be started");
    let pid = Pid::from_raw(child.id().cast_signed());
    thread::spawn(move || {
        runtime.block_on(signalled);
        // It is reaped only right before this process ends.
        let _ = kill(pid, Signal::SIGTERM);
    });
    let status = child.wait().expect("it is a child of this process");
    if let Some(code) = status.code() {
        return ExitCode::from(code as u8);
    }
    let signal = status.signal().unwrap_or_default();
    eprintln!(
        "error: the soak did not run to its end (signal {signal}, see above); seed {}; the recording, the lines and the journal are in {}",
        options.seed,
        options.directory.display()
    );
    // The watch is in the group, and the runtimes are in the cgroup of a node.
    let _ = killpg(pid, Signal::SIGKILL);
    lab::sweep();
    ExitCode::FAILURE
}
