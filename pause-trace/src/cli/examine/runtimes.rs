//! The checks of the node's container runtimes: which run, and which of their sockets answer. None
//! of them is required, because a node may have no pods.

use std::{
    collections::BTreeMap, fs, io, io::ErrorKind, os::unix::fs::MetadataExt as _, path::Path,
    time::Duration,
};

use pause_trace_cri::{Api, Client, Socket};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::ok;
use crate::{
    event::Text,
    node::program,
    report::wire::{Check, State},
    rules, runtimes,
};

/// The sockets of Docker and Podman, each with the program that listens on it.
const ENGINES: [(&str, &str); 2] = [
    ("/run/docker.sock", "dockerd"),
    ("/run/podman/podman.sock", "podman"),
];
/// The program of the CRI sockets that systemd may listen on for it.
const CRI_DOCKERD: &str = "cri-dockerd";
/// How long an engine may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an engine's answer that are read. Its headers come first.
const MAX_ANSWER: usize = 4096;

/// The programs of runtimes that run outside containers: how many processes, and the pid of one.
type Running = BTreeMap<&'static str, (usize, u32)>;

/// Checks which runtimes run and answer.
pub(super) async fn runtimes() -> Vec<Check> {
    let (running, unreadable) = running();
    let mut checks = vec![programs(&running, unreadable)];
    match Socket::discover(runtimes::sockets()) {
        Ok(sockets) => {
            for socket in sockets {
                checks.push(cri(socket, &running).await);
            }
        }
        Err(error) => checks.push(out_of_reach("CRI socket", format!("failed to {error}"))),
    }
    for (path, program) in ENGINES {
        if Path::new(path).exists() {
            checks.push(engine(path, program, &running).await);
        }
    }
    for check in &mut checks {
        check.required = false;
    }
    checks
}

/// Reads which programs of runtimes run in this pid namespace and in no container, and of how many
/// more processes with such a name this user may not know where they run.
fn running() -> (Running, usize) {
    let (mut running, mut unreadable) = (Running::new(), 0);
    let namespace = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/pid")).map(|it| it.ino());
    let own = namespace("self").ok();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
            continue;
        };
        let comm = fs::read(entry.path().join("comm")).unwrap_or_default();
        let known =
            runtimes::programs().find(|program| program.as_bytes() == comm.trim_ascii_end());
        let (Some(program), Ok(pid_number)) = (known, pid.parse()) else {
            continue;
        };
        match namespace(pid) {
            Ok(its) if Some(its) == own && !program::is_in_container(pid_number) => {
                running.entry(program).or_insert((0, pid_number)).0 += 1;
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => unreadable += 1,
            _ => {}
        }
    }
    (running, unreadable)
}

/// `containerd (pid 312), 3 containerd-shim`
fn programs(running: &Running, unreadable: usize) -> Check {
    let named = |(program, (count, pid)): (&&'static str, &(usize, u32))| match count {
        1 => format!("{program} (pid {pid})"),
        _ => format!("{count} {program}"),
    };
    let named: Vec<_> = running.iter().map(named).collect();
    match (named.is_empty(), unreadable) {
        (true, 0) => ok("runtimes", "none runs on this node, so it has no pods"),
        (true, _) => Check {
            state: State::Degraded,
            consequence: "whether this node has pods is unknown".to_owned(),
            fix: "run pause-trace as root".to_owned(),
            ..ok(
                "runtimes",
                &format!(
                    "unknown: this user may not read the pid namespaces of processes that have the \
                     name of one ({unreadable} of them)"
                ),
            )
        },
        (false, _) => ok("runtimes", &named.join(", ")),
    }
}

/// Asks for the version of the runtime at a CRI socket.
async fn cri(socket: Socket, running: &Running) -> Check {
    const NAME: &str = "CRI socket";
    let path = socket.to_string();
    // systemd would start the program if something connected.
    if path.contains(CRI_DOCKERD) && !running.contains_key(CRI_DOCKERD) {
        return ok(NAME, &format!("{path}: {CRI_DOCKERD} does not run"));
    }
    match Client::connect(socket).version().await {
        Ok((api, version)) => {
            let name = Text::new(&version.runtime_name);
            let number = Text::new(&version.runtime_version);
            let api = match api {
                Api::V1 => "v1",
                Api::V1Alpha2 => "v1alpha2",
            };
            ok(NAME, &format!("{path}: {name} {number}, CRI {api}"))
        }
        // The containerd of a Docker installation.
        Err(error) if error.is_answer() => {
            ok(NAME, &format!("{path}: the runtime does not offer CRI"))
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            out_of_reach(NAME, format!("{path}: {error:#}"))
        }
    }
}

fn out_of_reach(name: &str, detail: String) -> Check {
    Check {
        state: State::Missing,
        consequence: format!(
            "the pods of this runtime are described by their OCI bundles alone: {}",
            rules::without_cri()
        ),
        fix: "start the runtime, or name its socket with --cri; remove a socket that is left of a \
              runtime that is not used any more"
            .to_owned(),
        ..ok(name, &detail)
    }
}

/// Asks an engine for its version. pause-trace does not use this socket otherwise.
async fn engine(path: &str, program: &str, running: &Running) -> Check {
    const NAME: &str = "engine socket";
    // systemd would start the program if something connected.
    if !running.contains_key(program) {
        return ok(NAME, &format!("{path}: {program} does not run"));
    }
    let answer = match tokio::time::timeout(PATIENCE, server(Path::new(path))).await {
        Ok(answer) => answer,
        Err(_) => Err(ErrorKind::TimedOut.into()),
    };
    match answer {
        Ok(server) => ok(NAME, &format!("{path}: {server}")),
        Err(error) => ok(NAME, &format!("{path}: no answer ({error})")),
    }
}

/// What the header `Server` of an engine's answer contains: `Docker/20.10.24 (linux)`,
/// `Libpod/4.3.1 (linux)`. Escaped.
async fn server(socket: &Path) -> io::Result<Text> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = "GET /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut limited = stream.take(MAX_ANSWER as u64);
    limited.read_to_end(&mut answer).await?;
    let headers = String::from_utf8_lossy(&answer);
    let server = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("server").then(|| value.trim())
    });
    Ok(Text::new(server.unwrap_or("answers without its version")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn running_programs_are_named_and_none_is_no_failure() {
        let check = programs(&Running::new(), 0);
        assert_eq!(check.state, State::Ok);
        assert!(check.detail.starts_with("none runs"), "{check:?}");
        let running = [("containerd", (1, 312)), ("containerd-shim", (3, 400))];
        let check = programs(&running.into(), 0);
        assert_eq!(check.detail, "containerd (pid 312), 3 containerd-shim");
        let check = programs(&Running::new(), 2);
        assert_eq!(check.state, State::Degraded);
        assert!(check.detail.starts_with("unknown"), "{check:?}");
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(future)
    }

    #[test]
    fn an_engine_names_its_version_in_a_header() {
        let path = std::env::temp_dir().join(format!("pause-trace-engine-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("it can be created");
        let answering = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut stream, _) = listener.accept().expect("it connects");
            let read = stream.read(&mut [0; 512]).expect("a request");
            assert!(read > 0);
            let answer = b"HTTP/1.1 200 OK\r\nServer: Docker/20.10.24 (linux)\x1b\r\n\r\nOK";
            stream.write_all(answer).expect("it is read");
        });
        let server = block_on(server(&path)).expect("an answer");
        assert_eq!(server.to_string(), "Docker/20.10.24 (linux)\\u{1b}");
        answering.join().expect("it answered");
        fs::remove_file(&path).expect("it is ours");
    }

    #[test]
    fn a_socket_that_systemd_holds_is_not_connected_to_and_a_dead_one_is_missing() {
        let none = Running::new();
        let check = block_on(engine("/run/docker.sock", "dockerd", &none));
        assert_eq!(check.detail, "/run/docker.sock: dockerd does not run");
        let socket = "/run/cri-dockerd.sock".parse().expect("a path");
        let check = block_on(cri(socket, &none));
        assert!(check.detail.ends_with("does not run"), "{check:?}");
        let socket = "/run/nobody/listens.sock".parse().expect("a path");
        let check = block_on(cri(socket, &none));
        assert_eq!(check.state, State::Missing, "{check:?}");
    }
}
