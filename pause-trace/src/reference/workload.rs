//! The workload, which the reference pod's containers run.
//!
//! `pause-trace __workload [--term=exit|default|ignore|block|swallow] [--reap=yes|no]` runs this
//! executable as an *agent*, which performs requests from the socket at descriptor 3. The flags
//! select how it handles its stop signal and its children. Its first message, sent when the
//! dispositions are set, is [`Answer::Ready`].
//!
//! It has one thread, because it forks and changes namespaces. When the socket is closed it exits,
//! and so do all its children: each holds one end of a pipe (its *lifeline*) whose other end only
//! the agent has.

mod family;
mod ipc;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::sys::socket::MsgFlags;
use nix::unistd::{Pid, getpid, getppid, getuid};

use super::protocol::{
    self, AGENT_FD, Answer, Call, Failure, OnTerm, ProcessStatus, Reply, Request, Step,
};
use crate::sys;
use family::Family;

/// The time limit for connections between agents, which use the same loopback interface.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest nonce that is echoed, in bytes.
const MAX_NONCE: usize = 256;

/// Runs until the socket is closed or a request makes it exit.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Agent::start(args).and_then(|mut agent| agent.serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pause-trace: the reference pod's workload failed to {failure}");
            ExitCode::FAILURE
        }
    }
}

struct Agent {
    control: OwnedFd,
    listeners: Vec<TcpListener>,
    family: Family,
}

impl Agent {
    fn start(args: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let (term, reaps) = parse(args)?;
        let control = sys::inherited(AGENT_FD).step("find the control socket as descriptor 3")?;
        nix::sys::prctl::set_name(c"workload").step("set the name")?;
        set_dispositions(term, reaps).step("set the signal dispositions")?;
        Ok(Self {
            control,
            listeners: Vec::new(),
            family: Family::new(reaps),
        })
    }

    fn serve(&mut self) -> Result<(), Failure> {
        self.reply(&Reply {
            seq: 0,
            result: Ok(Answer::Ready),
        })?;
        loop {
            let mut fds = vec![PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                self.listeners
                    .iter()
                    .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)),
            );
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.step("wait")?,
            };
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            for (listener, ready) in self.listeners.iter().zip(&ready[1..]) {
                if *ready {
                    // Errors are ignored: the peer reports them.
                    let _ = echo(listener);
                }
            }
            if !ready[0] {
                continue;
            }
            let flags = MsgFlags::empty();
            let call = protocol::receive::<Call<Request>>(self.control.as_fd(), flags)
                .step("read a request")?;
            let Some((call, _)) = call else { return Ok(()) };
            let result = self.handle(call.request);
            self.reply(&Reply {
                seq: call.seq,
                result,
            })?;
        }
    }

    fn reply(&self, reply: &Reply) -> Result<(), Failure> {
        match protocol::send(self.control.as_fd(), reply, &[], MsgFlags::empty()) {
            // The loader has closed the socket, which the next read reports.
            Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => Ok(()),
            other => other.step("answer"),
        }
    }

    fn handle(&mut self, request: Request) -> Result<Answer, Failure> {
        let done = |()| Answer::Done;
        match request {
            Request::Status => status().map(Answer::Process),
            Request::Hostname => {
                let name = nix::unistd::gethostname().step("get the host name")?;
                Ok(Answer::Text(name.to_string_lossy().into_owned()))
            }
            Request::Addresses => addresses()
                .step("list the addresses")
                .map(Answer::Addresses),
            Request::TakeDown { interface } => sys::interface_down(&interface)
                .step(format!("take {interface} down"))
                .map(done),
            Request::Listen { address, port } => self.listen(address, port).map(Answer::Port),
            Request::Connect {
                address,
                port,
                nonce,
            } => connect(address, port, &nonce)
                .step(format!("connect to {address}:{port}"))
                .map(Answer::Text),
            Request::ShmPut { key, bytes } => sys::shm_put(key, &bytes)
                .step("write shared memory")
                .map(done),
            Request::ShmGet { key } => sys::shm_get(key)
                .step("read shared memory")
                .map(Answer::Bytes),
            Request::ShmRemove { key } => {
                sys::shm_remove(key).step("remove shared memory").map(done)
            }
            Request::MqPut { name, bytes } => {
                ipc::put(&name, &bytes).step("write to the queue").map(done)
            }
            Request::MqGet { name } => ipc::get(&name)
                .step("read from the queue")
                .map(Answer::Bytes),
            Request::MqRemove { name } => ipc::remove(&name).step("remove the queue").map(done),
            Request::Orphans { count } => self.family.orphans(count).map(Answer::Count),
            Request::Orphan => self.family.orphan().map(Answer::Pid),
            Request::Release => {
                self.family.release();
                Ok(Answer::Done)
            }
            Request::Zombie => self.family.zombie().map(Answer::Pid),
            Request::Reap => Ok(Answer::Count(self.family.reap())),
            Request::Child { ignores_term } => self.family.child(ignores_term).map(Answer::Pid),
            Request::Stray => self.family.stray().map(Answer::Pid),
            Request::Hungry => self.family.hungry().map(Answer::Pid),
            Request::Children => Ok(Answer::Children(self.family.children())),
            Request::Unmount { path } => nix::mount::umount(&path)
                .step(format!("unmount {}", path.display()))
                .map(done),
            Request::Setns { path } => enter(&path, CloneFlags::empty()).map(done),
            Request::JoinUnseen { path } => self.family.join_unseen(&path).map(Answer::Pid),
            Request::JoinInThreadAndExecute { path } => self
                .family
                .join_in_thread_and_execute(&path)
                .map(Answer::Pid),
            Request::Clone { kinds } => self
                .family
                .clone_into(flags(&kinds)?)
                .step(format!("clone with new {}", kinds.join(", ")))
                .map(Answer::Pid),
            Request::Unshare { kinds } => unshare(flags(&kinds)?)
                .step(format!("unshare {}", kinds.join(", ")))
                .map(done),
            Request::UnshareInThread { kinds } => {
                let flags = flags(&kinds)?;
                let unshared = std::thread::spawn(move || unshare(flags)).join();
                unshared
                    .unwrap_or(Err(Errno::EAGAIN))
                    .step(format!("unshare {} in a thread", kinds.join(", ")))
                    .map(done)
            }
            Request::JoinOf { pid, kinds } => join_of(pid, &kinds).map(done),
            Request::SendSignal { pid, signal } => {
                let target = sys::pidfd_open(Pid::from_raw(pid)).step(format!("find pid {pid}"))?;
                sys::pidfd_send_signal(target.as_fd(), signal)
                    .step(format!("signal pid {pid}"))
                    .map(done)
            }
            Request::Exit { code } => sys::exit(code),
            Request::Crash => sys::crash(),
        }
    }

    fn listen(&mut self, address: Ipv4Addr, port: u16) -> Result<u16, Failure> {
        let listener =
            TcpListener::bind((address, port)).step(format!("listen on {address}:{port}"))?;
        let port = listener.local_addr().step("look up the port")?.port();
        // A connection may have been closed between poll and accept.
        listener.set_nonblocking(true).step("listen")?;
        self.listeners.push(listener);
        Ok(port)
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(OnTerm, bool), Failure> {
    let (mut term, mut reaps) = (OnTerm::default(), true);
    for arg in args {
        match arg.to_str().and_then(|text| text.split_once('=')) {
            Some(("--term", "exit")) => term = OnTerm::Exit,
            Some(("--term", "default")) => term = OnTerm::Default,
            Some(("--term", "ignore")) => term = OnTerm::Ignore,
            Some(("--term", "block")) => term = OnTerm::Block,
            Some(("--term", "swallow")) => term = OnTerm::Swallow,
            Some(("--reap", value @ ("yes" | "no"))) => reaps = value == "yes",
            _ => {
                let step = format!("parse the argument {}", arg.to_string_lossy());
                return Err(Failure::new(step, Errno::EINVAL));
            }
        }
    }
    Ok((term, reaps))
}

/// Real handlers instead of a signalfd: the kernel reports a signal that is read from a signalfd as
/// blocked.
fn set_dispositions(term: OnTerm, reaps: bool) -> nix::Result<()> {
    extern "C" fn end(_signal: i32) {
        sys::exit(0)
    }
    extern "C" fn swallow(_signal: i32) {}
    match term {
        OnTerm::Exit => sys::on_signal(Signal::SIGTERM, SigHandler::Handler(end))?,
        OnTerm::Default => {}
        OnTerm::Ignore => sys::on_signal(Signal::SIGTERM, SigHandler::SigIgn)?,
        OnTerm::Block => SigSet::from(Signal::SIGTERM).thread_block()?,
        OnTerm::Swallow => sys::on_signal(Signal::SIGTERM, SigHandler::Handler(swallow))?,
    }
    if reaps {
        sys::on_signal(Signal::SIGCHLD, SigHandler::Handler(sys::reap_all))?;
        // Reaps children that ended before the handler was set. The first process of a pid
        // namespace has none, but in a shared pid namespace the process may have inherited some.
        sys::reap_all(0);
    }
    Ok(())
}

fn status() -> Result<ProcessStatus, Failure> {
    let namespaces = ["user", "ipc", "uts", "net", "pid", "mnt"]
        .into_iter()
        .map(|kind| {
            // This needs a /proc of its pid namespace, which not every reference pod mounts.
            let about = fs::metadata(format!("/proc/self/ns/{kind}"))
                .step(format!("look up its {kind} namespace"))?;
            Ok((kind.to_owned(), about.ino()))
        });
    Ok(ProcessStatus {
        pid: getpid().as_raw(),
        ppid: getppid().as_raw(),
        uid: getuid().as_raw(),
        namespaces: namespaces.collect::<Result<_, Failure>>()?,
    })
}

fn addresses() -> nix::Result<Vec<IpAddr>> {
    let found = nix::ifaddrs::getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
    });
    Ok(found.collect())
}

fn connect(address: Ipv4Addr, port: u16, nonce: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), PEER_TIMEOUT)?;
    stream.set_read_timeout(Some(PEER_TIMEOUT))?;
    stream.write_all(nonce.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut text = String::new();
    stream.take(MAX_NONCE as u64).read_to_string(&mut text)?;
    Ok(text)
}

fn echo(listener: &TcpListener) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PEER_TIMEOUT))?;
    let mut nonce = Vec::new();
    (&stream).take(MAX_NONCE as u64).read_to_end(&mut nonce)?;
    stream.write_all(&nonce)
}

fn enter(path: &Path, flag: CloneFlags) -> Result<(), Failure> {
    let file = fs::File::open(path).step(format!("open {}", path.display()))?;
    setns(file, flag).step(format!("setns to {}", path.display()))
}

fn join_of(pid: i32, kinds: &[String]) -> Result<(), Failure> {
    // All files are opened before the first setns, because /proc differs after a change of the
    // mount namespace.
    let files = kinds.iter().map(|kind| {
        let path = format!("/proc/{pid}/ns/{kind}");
        let file = fs::File::open(&path).step(format!("open {path}"))?;
        Ok((file, path))
    });
    for (file, path) in files.collect::<Result<Vec<_>, Failure>>()? {
        setns(file, CloneFlags::empty()).step(format!("setns to {path}"))?;
    }
    Ok(())
}

fn flags(kinds: &[String]) -> Result<CloneFlags, Failure> {
    kinds.iter().try_fold(CloneFlags::empty(), |flags, kind| {
        let flag = match kind.as_str() {
            "user" => CloneFlags::CLONE_NEWUSER,
            "ipc" => CloneFlags::CLONE_NEWIPC,
            "uts" => CloneFlags::CLONE_NEWUTS,
            "net" => CloneFlags::CLONE_NEWNET,
            "pid" => CloneFlags::CLONE_NEWPID,
            "mnt" => CloneFlags::CLONE_NEWNS,
            other => {
                return Err(Failure::new(
                    format!("find the namespace kind {other}"),
                    Errno::EINVAL,
                ));
            }
        };
        Ok(flags | flag)
    })
}

/// Numbers of descriptors, for [`sys::close_all_but`].
fn numbers<const N: usize>(fds: [&OwnedFd; N]) -> [i32; N] {
    fds.map(AsRawFd::as_raw_fd)
}
