//! A process on the node that belongs neither to the runtime nor to a pod, and acts on a pod.
//!
//! The loader starts this executable as `pause-trace __bystander kill PID SIGNAL`, `… join PID
//! KIND` or `… make net`. The process performs that one action, reports it on stdout, and stays
//! alive until its stdin is closed, so that the caller can identify it.

use std::{
    ffi::OsString,
    io::{Read, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
    unistd::Pid,
};

use super::{
    protocol::{Failure, Step},
    stage::Play,
};
use crate::{event::ProcessId, playing::PlayError, sys};

/// The report that the action is done.
const DONE: &[u8] = b"done\n";

/// Performs the action and waits for the end of stdin.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args
        .into_iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    if let Err(failure) = act(&args) {
        eprintln!("pause-trace: the bystander failed to {failure}");
        return ExitCode::FAILURE;
    }
    let reported = std::io::stdout().write_all(DONE);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    if reported.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn act(args: &[&str]) -> Result<(), Failure> {
    let number = |text: &str| {
        text.parse::<i32>()
            .map_err(|_| Failure::new(format!("read {text}"), Errno::EINVAL))
    };
    nix::sys::prctl::set_name(c"bystander").step("set the name")?;
    match args {
        ["kill", pid, signal] => {
            let target =
                sys::pidfd_open(Pid::from_raw(number(pid)?)).step(format!("find pid {pid}"))?;
            sys::pidfd_send_signal(target.as_fd(), number(signal)?)
                .step(format!("signal pid {pid}"))
        }
        ["join", pid, kind] => {
            let path = format!("/proc/{pid}/ns/{kind}");
            let file = std::fs::File::open(&path).step(format!("open {path}"))?;
            setns(file, CloneFlags::empty()).step(format!("setns to {path}"))
        }
        ["make", "net"] => unshare(CloneFlags::CLONE_NEWNET).step("unshare net"),
        _ => Err(Failure::new(
            format!("parse the arguments {}", args.join(" ")),
            Errno::EINVAL,
        )),
    }
}

/// A bystander that has performed its action. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Bystander {
    process: Child,
    pub(crate) id: ProcessId,
}

impl Bystander {
    /// Starts a bystander and waits until it has performed its action and the kernel has reported
    /// the process.
    pub(crate) async fn start(play: &Play<'_>, args: &[&str]) -> Result<Self, PlayError> {
        let what = format!("run a bystander to {}", args.join(" "));
        let failed = |source: std::io::Error| PlayError::io(what.clone(), source);
        let process = Command::new("/proc/self/exe")
            .arg0("pause-trace")
            .arg("__bystander")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let pid = process.id();
        // From here on, every path drops it and so ends the process.
        let mut bystander = Self {
            process,
            id: ProcessId::default(),
        };
        let mut report = [0; DONE.len()];
        let mut stdout = bystander
            .process
            .stdout
            .take()
            .ok_or_else(|| failed(Errno::EPIPE.into()))?;
        // This blocks the program's only thread, for a few milliseconds.
        stdout.read_exact(&mut report).map_err(failed)?;
        bystander.id = play
            .await_(&what, |core| {
                core.state.processes.by_pid(pid).map(|process| process.id)
            })
            .await?;
        Ok(bystander)
    }

    /// The path of one of its namespaces.
    pub(crate) fn namespace(&self, kind: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{kind}", self.process.id()))
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // The process may hang.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
