//! The `unsafe` blocks of this crate outside `probe/raw.rs`, here and in `sys/`, each with its
//! reason.
//!
//! The functions are minimal safe wrappers around calls that nix lacks or cannot make safe. Their
//! documentation states what a caller must observe.

pub(crate) mod compat;

use std::io::{IoSlice, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    connect, recvmsg, sendmsg, socket,
};
use nix::unistd::{ForkResult, Pid};
use tokio::io::unix::AsyncFd;

/// Forks; `None` in the child.
///
/// # Panics
/// When this process has more than one thread: the child would inherit locks that are never
/// released.
pub(crate) fn fork() -> nix::Result<Option<Pid>> {
    assert_single_threaded();
    // SAFETY: this process has one thread, so the child is a whole copy of it and may do what its
    // parent could.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Forks a *sibling*: its parent is the caller's parent, as runc does for the second stage of its
/// init. `None` in the child.
///
/// # Panics
/// Like [`fork`].
pub(crate) fn fork_sibling() -> nix::Result<Option<Pid>> {
    assert_single_threaded();
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and without a stack this is a fork. The C library's fork handlers
    // are skipped, which matters to its locks only, and there is one thread.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok((pid != 0).then(|| Pid::from_raw(pid as libc::pid_t)))
}

/// Forks into new namespaces of these kinds; `None` in the child.
///
/// # Panics
/// Like [`fork`].
pub(crate) fn clone_into(kinds: nix::sched::CloneFlags) -> nix::Result<Option<Pid>> {
    assert_single_threaded();
    let flags = libc::c_long::from(kinds.bits() | libc::SIGCHLD);
    // SAFETY: as in `fork_sibling`.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok((pid != 0).then(|| Pid::from_raw(pid as libc::pid_t)))
}

fn assert_single_threaded() {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    assert!(threads <= 1, "fork with {threads} threads");
}

/// Exits at once, without destructors, so that a forked child does not flush buffers twice.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// A file descriptor for a process (close-on-exec). It refers to this process even after its pid
/// has been reused.
pub(crate) fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: plain numbers; the result is checked.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    Ok(own(fd as RawFd))
}

/// Sends `signal` to the process behind `pidfd`.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> nix::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without a siginfo the kernel fills one in as for kill(2).
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0,
        )
    };
    Errno::result(sent).map(drop)
}

/// Sends one packet, with file descriptors.
pub(crate) fn send_packet(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> nix::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let flags = flags | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        flags,
        None,
    )
    .map(drop)
}

/// The most file descriptors in one packet.
const MAX_FDS: usize = 4;

/// Receives one packet into `buffer` and the file descriptors that came with it (close-on-exec).
/// Length 0 means that the other side has closed the socket.
///
/// # Errors
/// EMSGSIZE when the packet did not fit.
pub(crate) fn receive_packet(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            fds.extend(raw.into_iter().map(own));
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, fds))
}

/// Returns unused memory to the kernel: parsing BTF needs many times the memory that the event loop
/// does.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Fails if this much memory cannot be had, as with a low `ulimit -v`: the program would be aborted
/// in the middle of its work.
pub(crate) fn require_memory(mib: usize) -> anyhow::Result<()> {
    // Reserved and not touched, so that it is never used.
    let mut trial = Vec::<u8>::new();
    anyhow::ensure!(
        trial.try_reserve_exact(mib << 20).is_ok(),
        "needs {mib} MiB more address space than this process may have; raise its limit (ulimit -v, \
         ulimit -d)"
    );
    // Otherwise the compiler may leave the allocation out.
    std::hint::black_box(&mut trial);
    Ok(())
}

/// Registers a descriptor with the async runtime. It is read with MSG_DONTWAIT, so it need not be
/// non-blocking itself.
pub(crate) fn watched(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` owns an open descriptor, and the `AsyncFd`, which gives out only shared
    // references to it here, keeps it until it is dropped itself.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Connects to a stream socket at a path without waiting for a process that accepts nothing. The
/// stream is non-blocking.
///
/// # Errors
/// EAGAIN when too many connections wait to be accepted (unix_stream_connect, net/unix/af_unix.c).
pub(crate) fn connect_at_once(path: &Path) -> std::io::Result<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// Takes ownership of a descriptor that the parent process left open under an agreed number.
///
/// # Errors
/// EBADF when it is not open. Call it once for each number, before anything else opens files.
pub(crate) fn inherited(number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: F_GETFD only asks whether the number is open.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: sets a flag of a descriptor that is open, which was just checked.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(own(number))
}

/// Makes `fd` available under `number`, across exec.
pub(crate) fn place(fd: BorrowedFd<'_>, number: RawFd) -> nix::Result<()> {
    let raw = fd.as_raw_fd();
    let placed = if raw == number {
        // SAFETY: clears close-on-exec of an open descriptor; dup2 onto itself would leave it set.
        unsafe { libc::fcntl(raw, libc::F_SETFD, 0) }
    } else {
        // SAFETY: `raw` is open. A descriptor with `number` is closed: callers use this in a forked
        // child just before exec, for numbers below those of this program's own descriptors (see
        // `out_of_the_way`).
        unsafe { libc::dup2(raw, number) }
    };
    Errno::result(placed).map(drop)
}

/// A duplicate numbered 10 or higher, so that the low numbers are free for [`place`].
pub(crate) fn out_of_the_way(fd: impl AsFd) -> nix::Result<OwnedFd> {
    // SAFETY: the descriptor is open for as long as it is borrowed.
    let copy = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, 10) };
    Errno::result(copy).map(own)
}

/// Marks all descriptors from 3 up as close-on-exec.
pub(crate) fn close_others_on_exec() -> std::io::Result<()> {
    // Collected first, because the directory's own descriptor is among them.
    // close_range(CLOSE_RANGE_CLOEXEC) needs Linux 5.11.
    let numbers: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // SAFETY: sets a flag. For the directory's descriptor, which is closed now, this fails with
        // EBADF.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

/// Closes all descriptors from 3 up except `keep`. Only for a forked child that never returns to
/// its parent's code, because the owners of the closed descriptors still exist.
pub(crate) fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<libc::c_uint> = keep.iter().map(|fd| *fd as libc::c_uint).collect();
    keep.sort_unstable();
    let mut from: libc::c_uint = 3;
    for until in keep.into_iter().chain([libc::c_uint::MAX]) {
        if until > from {
            // SAFETY: numbers only. The child neither returns nor drops the owners of the closed
            // descriptors.
            unsafe { libc::syscall(libc::SYS_close_range, from, until - 1, 0) };
        }
        from = from.max(until.saturating_add(1));
    }
}

/// Sets the action of `signal`.
///
/// A function in `handler` may do only what signal-safety(7) allows.
pub(crate) fn on_signal(signal: Signal, handler: SigHandler) -> nix::Result<()> {
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handlers of this crate call async-signal-safe functions only and touch nothing
    // but atomics.
    unsafe { nix::sys::signal::sigaction(signal, &action) }.map(drop)
}

/// Resets every signal to its default action and unblocks all, as a process expects after exec.
pub(crate) fn reset_signals() {
    for number in 1..=64 {
        // SAFETY: SIG_DFL is always valid. It fails for SIGKILL, SIGSTOP and the two that the C
        // library reserves, which always have the default action.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // Emptying the mask cannot fail.
    let _ = SigSet::empty().thread_set_mask();
}

/// Reaps one child that has ended (this one, or any) without blocking. The status is the exit code,
/// or the signal that ended it, real-time signals included. `None` while all are alive.
pub(crate) fn reap(pid: Option<Pid>) -> nix::Result<Option<(Pid, Result<i32, i32>)>> {
    let mut status = 0;
    let whom = pid.map_or(-1, Pid::as_raw);
    // SAFETY: `status` is a local that the kernel may write.
    let reaped = Errno::result(unsafe { libc::waitpid(whom, &raw mut status, libc::WNOHANG) })?;
    let how = if libc::WIFEXITED(status) {
        Ok(libc::WEXITSTATUS(status))
    } else {
        Err(libc::WTERMSIG(status))
    };
    Ok((reaped != 0).then(|| (Pid::from_raw(reaped), how)))
}

/// Reaps all children that have exited. Safe in a signal handler.
pub(crate) extern "C" fn reap_all(_signal: libc::c_int) {
    // SAFETY: waitpid is async-signal-safe, and errno (thread-local, always valid) is put back for
    // the interrupted code.
    unsafe {
        let errno = *libc::__errno_location();
        while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
        *libc::__errno_location() = errno;
    }
}

/// Writes one byte to a descriptor number. Safe in a signal handler. Errors such as EBADF are
/// ignored.
pub(crate) fn note(number: RawFd, byte: u8) {
    // SAFETY: one byte of this stack frame.
    unsafe { libc::write(number, (&raw const byte).cast(), 1) };
}

/// Allocates and uses memory until the OOM killer ends this process, but not all of a machine's.
pub(crate) fn eat_memory() {
    const MOST: usize = 256;
    let mut allocated = Vec::new();
    while allocated.len() < MOST {
        allocated.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// Exits through a real fault. A SIGSEGV that the kernel forces ends even pid 1 of a pid namespace;
/// one that is sent would be ignored.
pub(crate) fn crash() -> ! {
    let nowhere = std::ptr::without_provenance::<u8>(8);
    // SAFETY: invalid on purpose. The first page is never mapped (vm.mmap_min_addr), so the kernel
    // ends the process here.
    unsafe { nowhere.read_volatile() };
    exit(101)
}

/// Brings an interface of this network namespace up.
pub(crate) fn interface_up(name: &str) -> nix::Result<()> {
    change_interface(name, |flags| flags | libc::IFF_UP as libc::c_short)
}

/// Takes an interface of this network namespace down. Of an alias such as `lo:1` that removes the
/// address.
pub(crate) fn interface_down(name: &str) -> nix::Result<()> {
    change_interface(name, |flags| flags & !(libc::IFF_UP as libc::c_short))
}

fn change_interface(
    name: &str,
    change: impl FnOnce(libc::c_short) -> libc::c_short,
) -> nix::Result<()> {
    let socket = control_socket()?;
    let mut request = interface_request(name)?;
    let raw = socket.as_raw_fd();
    // SAFETY: `request` is an ifreq with a terminated name, as SIOCGIFFLAGS reads and writes it.
    Errno::result(unsafe { libc::ioctl(raw, libc::SIOCGIFFLAGS as _, &raw mut request) })?;
    // SAFETY: SIOCGIFFLAGS has just filled this member in.
    unsafe { request.ifr_ifru.ifru_flags = change(request.ifr_ifru.ifru_flags) };
    // SAFETY: as above; SIOCSIFFLAGS only reads it.
    let set = unsafe { libc::ioctl(raw, libc::SIOCSIFFLAGS as _, &raw mut request) };
    Errno::result(set).map(drop)
}

/// Sets the IPv4 address of an interface of this network namespace, with a /32 mask. `lo:1` is a
/// second address of `lo`.
pub(crate) fn interface_address(name: &str, address: Ipv4Addr) -> nix::Result<()> {
    let socket = control_socket()?;
    for (what, value) in [
        (libc::SIOCSIFADDR, address),
        (libc::SIOCSIFNETMASK, Ipv4Addr::BROADCAST),
    ] {
        let mut request = interface_request(name)?;
        let [a, b, c, d] = value.octets().map(|octet| octet as libc::c_char);
        request.ifr_ifru.ifru_addr = libc::sockaddr {
            sa_family: libc::AF_INET as libc::sa_family_t,
            // A sockaddr_in: port, address, padding.
            sa_data: [0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        // SAFETY: an ifreq with a terminated name and the sockaddr_in that these requests read.
        Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), what as _, &raw mut request) })?;
    }
    Ok(())
}

fn control_socket() -> nix::Result<OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
}

fn interface_request(name: &str) -> nix::Result<libc::ifreq> {
    // SAFETY: ifreq is plain data; all zeros is a valid value of each of its members.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte stays 0: the terminator.
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Stores `bytes` in the System V shared memory segment `key` of this ipc namespace, which is
/// created if necessary. The segment exists until [`shm_remove`] or the end of the namespace.
pub(crate) fn shm_put(key: i32, bytes: &[u8]) -> nix::Result<()> {
    let flags = libc::IPC_CREAT | 0o600;
    // SAFETY: numbers only.
    let id = Errno::result(unsafe { libc::shmget(key, bytes.len(), flags) })?;
    with_segment(id, |memory, size| {
        let length = bytes.len().min(size);
        // SAFETY: the kernel mapped `size` writable bytes at `memory`, and `length` is no more than
        // either side has.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory, length) };
    })
}

/// Reads the segment `key`.
///
/// # Errors
/// ENOENT when this ipc namespace has no such segment.
pub(crate) fn shm_get(key: i32) -> nix::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let id = shm_find(key)?;
    with_segment(id, |memory, size| {
        // SAFETY: `size` bytes are mapped at `memory` for the length of this call. Another process
        // may write them meanwhile; the copy is then inconsistent, which callers detect by
        // comparing it.
        bytes = unsafe { std::slice::from_raw_parts(memory, size) }.to_vec();
    })?;
    Ok(bytes)
}

/// Removes the segment `key`.
pub(crate) fn shm_remove(key: i32) -> nix::Result<()> {
    let id = shm_find(key)?;
    // SAFETY: IPC_RMID takes no buffer.
    let removed = unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    Errno::result(removed).map(drop)
}

fn shm_find(key: i32) -> nix::Result<i32> {
    // SAFETY: numbers only; size 0 finds a segment of any size.
    Errno::result(unsafe { libc::shmget(key, 0, 0) })
}

/// Attaches a segment and calls `body` with its address and size.
fn with_segment(id: i32, body: impl FnOnce(*mut u8, usize)) -> nix::Result<()> {
    // SAFETY: plain data, filled in by IPC_STAT before it is read.
    let mut about: libc::shmid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: `about` is as large as IPC_STAT wants.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_STAT, &raw mut about) })?;
    // SAFETY: the kernel chooses a free place for the mapping.
    let memory = unsafe { libc::shmat(id, std::ptr::null(), 0) };
    if memory.addr() == usize::MAX {
        return Err(Errno::last());
    }
    body(memory.cast(), about.shm_segsz);
    // SAFETY: attached above, and `body` has returned.
    Errno::result(unsafe { libc::shmdt(memory) }).map(drop)
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: each caller passes a descriptor that it has just received from the kernel or
    // inherited, and gives up its ownership.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;
    use pause_trace_core::{errno, signal};

    use super::*;

    /// The core has tables of its own, which must agree with the C library on this machine.
    #[test]
    fn the_core_names_signals_and_errors_as_the_system_does() {
        for number in -1..=4096 {
            // The system's names end before the real-time signals.
            if !(34..=64).contains(&number) {
                let name = Signal::try_from(number).ok().map(Signal::as_str);
                assert_eq!(signal::name(number), name);
            }
            let (ours, theirs) = (errno::Errno(number), Errno::from_raw(number));
            let known = match (number, theirs) {
                (0, _) => "success success".to_owned(),
                (_, Errno::UnknownErrno) => format!("errno {number} errno {number}"),
                _ => format!("{theirs:?} {theirs}"),
            };
            assert_eq!(format!("{ours:?} {ours}"), known);
        }
    }
}
