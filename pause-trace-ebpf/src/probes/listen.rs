//! `inet_sock_set_state`: a TCP socket begins or ceases to listen.
//!
//! The hook runs at every change of the state of every TCP socket of the machine, also in softirqs,
//! so it looks at its arguments before anything else. There is no second program: runs that the
//! kernel skips because this one is interrupted are those of other connections.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::{AF_INET, AF_INET6, Kind, Listen};

use crate::{
    emit, filter,
    task::{SocketRef, TaskRef},
};

/// `TCP_LISTEN` (include/net/tcp_states.h).
const LISTEN: i32 = 10;
/// `IPPROTO_TCP` (include/uapi/linux/in.h).
const TCP: u16 = 6;

// match-proto: inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate), since 4.16
#[btf_tracepoint(function = "inet_sock_set_state")]
fn listen(ctx: BtfTracePointContext) -> i32 {
    let (old, new) = (ctx.arg::<i32>(1), ctx.arg::<i32>(2));
    if (old == LISTEN) == (new == LISTEN) {
        return 0;
    }
    let socket = SocketRef::new(ctx.arg::<*const u8>(0));
    let is_watched = filter::is_current_watched();
    // A socket begins to listen in the system call of its process. Another process, or a thread of
    // the kernel, may close it.
    if !is_watched && (new == LISTEN || !filter::is_pods_network(socket.net())) {
        return 0;
    }
    // An MPTCP socket announces its state in addition to that of the TCP socket that it consists
    // of (`mptcp_listen`, net/mptcp/protocol.c).
    let family = socket.family();
    if socket.protocol() != TCP || (family != AF_INET && family != AF_INET6) {
        return 0;
    }
    let process = TaskRef::current();
    let place = filter::place(process.cgroup());
    if !emit::admits(place.account, Kind::Listen, false) {
        return 0;
    }
    emit::emit(|| Listen {
        task: process.identity(),
        cgroup: place.cgroup,
        comm: process.leader().comm(),
        address: socket.address(family),
        net: socket.net(),
        family,
        port: socket.port(),
        ended: u32::from(new != LISTEN),
        padding: 0,
    });
    0
}
