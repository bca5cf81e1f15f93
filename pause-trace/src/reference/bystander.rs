//! Somebody on the node who is neither the runtime nor of any pod, and does something to one.
//!
//! `pause-trace __bystander kill PID SIGNAL`, `… join PID KIND` or `… make net` is this executable once more, started by the
//! loader itself. It does that one thing, says so, and stays until its stdin ends: so whoever asked can see who it was.

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

/// What it says when it has done it.
const DONE: &[u8] = b"done\n";

/// Does it and stays.
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
    let told = std::io::stdout().write_all(DONE);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    if told.is_ok() {
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
            format!("understand {}", args.join(" ")),
            Errno::EINVAL,
        )),
    }
}

/// One that has done what it was asked. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Bystander {
    process: Child,
    pub(crate) id: ProcessId,
}

impl Bystander {
    /// Starts one and waits until it has done its thing and the kernel has reported who it is.
    pub(crate) async fn asked(play: &Play<'_>, args: &[&str]) -> Result<Self, PlayError> {
        let what = format!("ask a bystander to {}", args.join(" "));
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
        // From here on it is dropped, and so ended, on every path.
        let mut asked = Self {
            process,
            id: ProcessId::default(),
        };
        let mut said = [0; DONE.len()];
        let mut stdout = asked
            .process
            .stdout
            .take()
            .ok_or_else(|| failed(Errno::EPIPE.into()))?;
        // It takes a few milliseconds, in which nobody else of this program could do without its one thread.
        stdout.read_exact(&mut said).map_err(failed)?;
        asked.id = play
            .await_(&what, |core| {
                core.state.processes.by_pid(pid).map(|process| process.id)
            })
            .await?;
        Ok(asked)
    }

    /// One of its namespaces.
    pub(crate) fn namespace(&self, kind: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{kind}", self.process.id()))
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It may be one that hangs.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
