//! What the filters refuse, seen from inside: each test runs itself again as a process that it
//! confines. That process keeps its capabilities, so that only the filters refuse.

use std::{
    env, fs, io,
    net::{TcpListener, TcpStream},
    os::{
        fd::AsRawFd as _,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    process::{Command, ExitStatus},
    thread,
};

use super::*;

/// Set in the confined process.
const INSIDE: &str = "PAUSE_TRACE_TEST_INSIDE";

/// Runs this test again in a process of its own. Returns `None` there.
fn again(test: &str) -> Option<(ExitStatus, String)> {
    if env::var_os(INSIDE).is_some() {
        return None;
    }
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("confine::filter::tests::{test}"))
        .env(INSIDE, "1")
        .output()
        .expect("it can be run");
    let text = [output.stdout, output.stderr].concat();
    Some((output.status, String::from_utf8_lossy(&text).into_owned()))
}

/// The error of a system call; 0 if it succeeds.
fn call(number: c_long, arguments: [c_long; 5]) -> i32 {
    let [a, b, c, d, e] = arguments;
    // SAFETY: every call in these tests has null pointers and bad descriptors, and would fail, or
    // do nothing, without a filter.
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        -1 => io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or_default(),
        _ => 0,
    }
}

const NOWHERE: [c_long; 5] = [-1; 5];

#[test]
fn each_call_of_the_list_is_refused_in_every_thread() {
    let name = "each_call_of_the_list_is_refused_in_every_thread";
    if let Some((status, text)) = again(name) {
        assert!(status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    // A thread that is there before the filter, beside the main thread of the test program.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let early = thread::spawn(move || {
        wait.recv().expect("it is told to go on");
        assert_refused();
    });
    for_all_threads(&[]).expect("this kernel has filters");
    go.send(()).expect("it waits");
    early.join().expect("it does not panic");
    assert_refused();
    thread::spawn(assert_refused)
        .join()
        .expect("threads can be started");

    // What the program does later is allowed.
    let lookup = call(libc::SYS_bpf, [1, 0, 0, 0, 0]);
    assert_ne!(lookup, libc::EPERM);
    assert_eq!(call(libc::SYS_kill, [own(), 0, 0, 0, 0]), 0);
    UnixStream::pair().expect("unix sockets are allowed");
    let connected = UnixStream::connect("/nonexistent/socket").expect_err("there is none");
    assert_eq!(connected.kind(), io::ErrorKind::NotFound);
    fs::write("/dev/null", "x").expect("this filter refuses no writing");
    // Runs no program: not even this one, again.
    let error = Command::new("/proc/self/exe").spawn().expect_err("refused");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
}

#[test]
fn a_server_accepts_connections_and_everything_else_is_refused() {
    let name = "a_server_accepts_connections_and_everything_else_is_refused";
    if let Some((status, text)) = again(name) {
        assert!(status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let client = TcpStream::connect(address).expect("it listens");
    for_all_threads(&[listener.as_raw_fd()]).expect("this kernel has filters");
    let (_, peer) = listener.accept().expect("it may accept");
    assert_eq!(Ok(peer), client.local_addr().map_err(drop));
    for number in REFUSED {
        assert_eq!(call(*number, NOWHERE), libc::EPERM, "call {number}");
    }
    let another = TcpListener::bind("127.0.0.1:0").expect_err("refused");
    assert_eq!(another.raw_os_error(), Some(libc::EPERM));
    let connected = TcpStream::connect(address).expect_err("refused");
    assert_eq!(connected.raw_os_error(), Some(libc::EPERM));
}

fn own() -> c_long {
    c_long::from(std::process::id())
}

fn assert_refused() {
    let accept = &[libc::SYS_accept4];
    for number in REFUSED.iter().chain(REFUSED_OLD).chain(accept) {
        assert_eq!(call(*number, NOWHERE), libc::EPERM, "call {number}");
    }
    let thread = c_long::from(libc::CLONE_THREAD);
    let shared = thread | c_long::from(libc::CLONE_VM | libc::CLONE_SIGHAND);
    let parent = c_long::from(nix::unistd::getppid().as_raw());
    for (number, arguments, error) in [
        (libc::SYS_bpf, [0, 0, 0, 0, 0], libc::EPERM), // BPF_MAP_CREATE
        (libc::SYS_bpf, [5, 0, 0, 0, 0], libc::EPERM), // BPF_PROG_LOAD
        (libc::SYS_bpf, [13, 0, 0, 0, 0], libc::EPERM), // BPF_PROG_GET_FD_BY_ID
        (
            libc::SYS_socket,
            [c_long::from(libc::AF_INET), 1, 0, 0, 0],
            libc::EPERM,
        ),
        (
            libc::SYS_socket,
            [c_long::from(libc::AF_NETLINK), 3, 0, 0, 0],
            libc::EPERM,
        ),
        (libc::SYS_kill, [parent, 0, 0, 0, 0], libc::EPERM),
        (libc::SYS_kill, [-1, 0, 0, 0, 0], libc::EPERM),
        (libc::SYS_tgkill, [parent, parent, 0, 0, 0], libc::EPERM),
        (libc::SYS_prlimit64, [parent, 7, 0, 0, 0], libc::EPERM),
        (
            libc::SYS_ioctl,
            [-1, libc::TIOCSTI as c_long, 0, 0, 0],
            libc::EPERM,
        ),
        (
            libc::SYS_ioctl,
            [-1, libc::TIOCLINUX as c_long, 0, 0, 0],
            libc::EPERM,
        ),
        (
            libc::SYS_clone,
            [c_long::from(libc::SIGCHLD), 0, 0, 0, 0],
            libc::EPERM,
        ),
        (
            libc::SYS_clone,
            [shared | c_long::from(libc::CLONE_NEWNET), 0, 0, 0, 0],
            libc::EPERM,
        ),
        (libc::SYS_clone3, [0, 0, 0, 0, 0], libc::ENOSYS),
        (libc::SYS_openat2, NOWHERE, libc::ENOSYS),
        (c_long::from(LAST) + 1, NOWHERE, libc::ENOSYS),
        // The x32 entry of x86_64: execve is 520 there.
        (0x4000_0000 + 520, NOWHERE, libc::ENOSYS),
    ] {
        assert_eq!(
            call(number, arguments),
            error,
            "call {number} {arguments:?}"
        );
    }
}

#[test]
fn connections_are_accepted_on_one_socket_only() {
    let name = "connections_are_accepted_on_one_socket_only";
    if let Some((status, text)) = again(name) {
        assert!(status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let listening = |name: &str| {
        let name = format!("pause-trace-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).expect("it is short");
        let listener = UnixListener::bind_addr(&address).expect("the name is unique");
        (listener, address)
    };
    let ((own, address), (other, of_other)) = (listening("own"), listening("other"));
    for_all_threads(&[own.as_raw_fd()]).expect("this kernel has filters");
    let _waiting = [&address, &of_other]
        .map(|address| UnixStream::connect_addr(address).expect("connecting is allowed"));
    own.accept().expect("it is the listener");
    let error = other.accept().expect_err("refused");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    let copy = own.try_clone().expect("it can be copied");
    let error = copy.accept().expect_err("refused");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    for number in [libc::SYS_bind, libc::SYS_listen, libc::SYS_accept] {
        let arguments = [c_long::from(own.as_raw_fd()), 0, 0, 0, 0];
        assert_eq!(call(number, arguments), libc::EPERM, "call {number}");
    }
}

#[test]
fn a_reader_opens_no_file_for_writing_and_changes_none() {
    let name = "a_reader_opens_no_file_for_writing_and_changes_none";
    if let Some((status, text)) = again(name) {
        assert!(status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    for_all_threads(&[]).expect("this kernel has filters");
    for_readers().expect("this kernel has filters");
    let assert_reads = || {
        for number in CHANGES.iter().chain(CHANGES_OLD) {
            assert_eq!(call(*number, NOWHERE), libc::EPERM, "call {number}");
        }
        let ways: [fn(&mut fs::OpenOptions) -> &mut fs::OpenOptions; 4] = [
            |options| options.write(true),
            |options| options.read(true).write(true),
            |options| options.append(true),
            |options| options.write(true).create(true),
        ];
        for way in ways {
            let mut options = fs::OpenOptions::new();
            let error = way(&mut options).open("/dev/null").expect_err("refused");
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{options:?}");
        }
        let path = "/proc/1/mem";
        let error = fs::OpenOptions::new().write(true).open(path);
        let error = error.expect_err("refused").raw_os_error();
        assert_eq!(error, Some(libc::EPERM), "{path}");
        fs::read("/proc/1/ns/../status").expect("it reads");
        fs::read_dir("/proc").expect("it reads");
    };
    assert_reads();
    thread::spawn(assert_reads).join().expect("as well");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_call_through_the_32_bit_entry_ends_the_process() {
    use std::os::{fd::AsFd as _, unix::process::ExitStatusExt as _};

    let name = "a_call_through_the_32_bit_entry_ends_the_process";
    if let Some((status, text)) = again(name) {
        // A kernel without this entry ends the process, too.
        let signal = status.signal();
        assert!(
            matches!(signal, Some(libc::SIGSYS | libc::SIGSEGV)),
            "{status} {text}"
        );
        return;
    }
    for_all_threads(&[]).expect("this kernel has filters");
    let own = fs::File::open("/proc/self/ns/uts").expect("it is there");
    let returned = crate::sys::compat::setns(own.as_fd());
    unreachable!("{returned:?}");
}

/// Why the process is not in a Landlock domain: it could not read the namespaces of a pod.
#[test]
fn a_landlock_domain_cannot_read_other_processes() {
    let name = "a_landlock_domain_cannot_read_other_processes";
    if let Some((status, text)) = again(name) {
        assert!(status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let link = "/proc/1/ns/net";
    if fs::read_link(link).is_err() {
        return; // not root
    }
    // LANDLOCK_ACCESS_FS_MAKE_BLOCK: a domain that forbids next to nothing.
    let handled: u64 = 1 << 11;
    // SAFETY: the kernel reads the eight bytes of `handled`.
    let rules =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const handled, 8, 0) };
    if rules < 0 {
        return; // a kernel without Landlock
    }
    nix::sys::prctl::set_no_new_privs().expect("it can be set");
    let restricted = call(libc::SYS_landlock_restrict_self, [rules, 0, 0, 0, 0]);
    assert_eq!(restricted, 0);
    assert!(fs::read_link(link).is_err());
}
