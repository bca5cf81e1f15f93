//! pause-trace as a service of systemd: what it tells the service manager, the priorities of its
//! lines in the journal, and the unit.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram, UnixStream},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::fstat,
    },
    unistd::Pid,
};
use pause_trace_tests::{pause_trace, scratch, wire};
use xtask_support::places;

/// How long a message may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The service manager's side of the socket.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at_a_path(name: &str) -> Self {
        let path = env::temp_dir().join(format!("pause-trace-{name}-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).expect("a new name");
        Self::with(socket, path.display().to_string())
    }

    fn without_a_path(name: &str) -> Self {
        let name = format!("pause-trace-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("it is short");
        let socket = UnixDatagram::bind_addr(&address).expect("a new name");
        Self::with(socket, format!("@{name}"))
    }

    fn with(socket: UnixDatagram, name: String) -> Self {
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("it is not zero");
        Self { socket, name }
    }

    fn start(&self, environment: &[(&str, &str)]) -> Child {
        Command::new(pause_trace())
            .args(["watch", "--format", "json", "--history", "0"])
            .env("NOTIFY_SOCKET", &self.name)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("it starts")
    }

    /// The next message that has a line which begins so. Returns all messages up to it.
    fn until(&self, wanted: &str) -> Vec<String> {
        let mut seen = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let count = self.socket.recv(&mut bytes);
            let count = count.unwrap_or_else(|error| panic!("no {wanted}: {error}; {seen:?}"));
            seen.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
            let last = seen.last().map_or("", String::as_str);
            if last.lines().any(|line| line.starts_with(wanted)) {
                return seen;
            }
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // A name without a path needs no removal.
        let _ = fs::remove_file(&self.name);
    }
}

fn terminate(child: &mut Child) {
    let pid = Pid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGTERM).expect("it has not been reaped");
}

#[test]
fn it_is_ready_after_its_first_line_and_says_that_it_lives_and_stops() {
    let manager = Manager::at_a_path("ready");
    // Half of this is the time between two signs of life.
    let mut child = manager.start(&[("WATCHDOG_USEC", "1000000")]);
    let before = manager.until("READY=1");
    assert_eq!(
        before.len(),
        1,
        "nothing comes before it is ready: {before:?}"
    );
    assert!(before[0].contains("\nSTATUS=verifying"), "{before:?}");
    let mut output = BufReader::new(child.stdout.take().expect("it is a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it is text");
    let hello = wire::read(line.trim_end()).expect("it matches the schema");
    assert_eq!(hello["type"], "hello");
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    // A process that is held up gives none: after it was stopped, the socket is empty at once.
    let pid = Pid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGSTOP).expect("it has not been reaped");
    let status = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WUNTRACED));
    assert_eq!(
        status,
        Ok(nix::sys::wait::WaitStatus::Stopped(pid, Signal::SIGSTOP))
    );
    manager.socket.set_nonblocking(true).expect("a socket");
    let mut bytes = [0; 4096];
    while manager.socket.recv(&mut bytes).is_ok() {}
    manager.socket.set_nonblocking(false).expect("a socket");
    manager
        .socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("it is not zero");
    manager.socket.recv(&mut bytes).expect_err("it is stopped");
    manager
        .socket
        .set_read_timeout(Some(PATIENCE))
        .expect("it is not zero");
    kill(pid, Signal::SIGCONT).expect("it has not been reaped");

    terminate(&mut child);
    manager.until("STOPPING=1");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("it is text");
    child.wait().expect("it is a child of this process");
}

#[test]
fn a_watchdog_of_another_process_gets_no_signs_of_life() {
    let manager = Manager::without_a_path("other");
    let other = [("WATCHDOG_USEC", "200000"), ("WATCHDOG_PID", "1")];
    let mut child = manager.start(&other);
    manager.until("READY=1");
    manager
        .socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("it is not zero");
    let mut bytes = [0; 4096];
    while let Ok(count) = manager.socket.recv(&mut bytes) {
        let message = String::from_utf8_lossy(&bytes[..count]);
        assert!(!message.contains("WATCHDOG"), "{message}");
    }
    manager
        .socket
        .set_read_timeout(Some(PATIENCE))
        .expect("it is not zero");
    terminate(&mut child);
    manager.until("STOPPING=1");
    drop(child.stdout.take());
    child.wait().expect("it is a child of this process");
}

/// Runs it with stdout connected to a socket, as systemd connects it to the journal.
fn in_journal(named: bool, args: &[&str]) -> String {
    let (own, other) = UnixStream::pair().expect("a pair of sockets");
    let stat = fstat(&other).expect("it is open");
    let stream = format!("{}:{}", stat.st_dev, stat.st_ino + u64::from(!named));
    let mut child = Command::new(pause_trace())
        .args(args)
        .env("JOURNAL_STREAM", stream)
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(other))
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut text = String::new();
    BufReader::new(own)
        .read_to_string(&mut text)
        .expect("it is text");
    child.wait().expect("it is a child of this process");
    text
}

#[test]
fn lines_in_the_journal_have_the_priority_of_their_finding() {
    let broken = ["check", "--inject", "own-net", "--format", "json"];
    let text = in_journal(true, &broken);
    let lines: Vec<_> = text
        .lines()
        .map(|line| {
            let (priority, line) = line.split_at(3);
            (
                priority,
                wire::read(line).unwrap_or_else(|error| panic!("{error}")),
            )
        })
        .collect();
    let finding = lines
        .iter()
        .find(|(_, line)| line["type"] == "finding" && line["severity"] == "error");
    assert_eq!(finding.expect("own-net is found").0, "<3>", "{text}");
    let (priority, last) = lines.last().expect("there is a summary");
    assert_eq!((*priority, &last["type"]), ("<6>", &"summary".into()));
    // A socket that is not the journal's gets the lines as they are.
    let text = in_journal(false, &broken);
    assert!(text.lines().all(|line| line.starts_with('{')), "{text}");
}

#[test]
fn systemd_accepts_the_unit_and_its_restrictions() {
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/systemd/pause-trace.service"
    );
    let text = fs::read_to_string(unit).expect("it is in the repository");
    let program = pause_trace();
    let program = program.canonicalize().expect("it is there");
    let copy = scratch("unit").join("pause-trace.service");
    let text = text.replace("/usr/bin/pause-trace", &program.display().to_string());
    fs::write(&copy, text).expect("the directory is ours");
    for args in [
        &["verify", "--man=no"][..],
        &["security", "--no-pager", "--offline=yes", "--threshold=55"],
    ] {
        let output = analyze().args(args).arg(&copy).output().expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{args:?}: {said}");
        assert!(
            args[0] != "verify" || !said.contains("pause-trace.service:"),
            "{said}"
        );
    }
}

fn analyze() -> Command {
    let directory: PathBuf = places::directory(places::SYSTEMD);
    assert!(
        directory.exists(),
        "{} is missing: run `cargo xtask test`",
        directory.display()
    );
    let own = format!("usr/lib/{}-linux-gnu/systemd", env::consts::ARCH);
    let libraries = format!(
        "{}:{}",
        directory.join(own).display(),
        places::libraries(&directory)
    );
    let mut analyze = Command::new(directory.join("usr/bin/systemd-analyze"));
    analyze.env("LD_LIBRARY_PATH", libraries);
    analyze
}
