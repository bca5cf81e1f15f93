//! Faults that are told in another way than those of the rules' families: moves that no call of the
//! process shows, and stops that are judged some time after the end of the pause.

use super::{NET, app};
use crate::{
    event::*,
    rules::testing::*,
    signal::{SIGKILL, SIGTERM},
};

type Plant = fn(&mut Scene);

/// A rule, and a further fault of it.
pub(super) const FAULTS: &[(&str, Plant)] = &[
    ("PT108", |s| {
        let (_, init) = app(s);
        s.move_unseen(init, |ns| ns.net = 77);
        s.exec(init);
    }),
    ("PT108", |s| {
        let (_, init) = app(s);
        s.clone_with(init, |ns, _| ns.net = 77);
    }),
    ("PT108", |s| {
        let (_, init) = app(s);
        s.change_thread(init, NamespaceCall::Unshare, NET, |ns| ns.net = 77);
        s.move_unseen(init, |ns| ns.net = 77);
        s.exec(init);
    }),
    ("PT109", |s| {
        let (_, init) = app(s);
        let member = s.fork(init);
        s.exec(member);
        s.move_unseen(member, |ns| ns.mnt = HOST.mnt);
        s.end(member, WaitStatus::exited(0));
    }),
    ("PT109", |s| {
        let (_, init) = app(s);
        s.fork_in(init, |ns| ns.net = HOST.net);
    }),
    ("PT109", |s| {
        let other = s.pod("q");
        let foreign = s.namespaces(other).net;
        let (_, init) = app(s);
        s.clone_with(init, |ns, _| (ns.net, ns.uts) = (foreign, 77));
    }),
    ("PT110", |s| {
        let (_, init) = app(s);
        let other = s.pod("q");
        let foreign = s.namespaces(other).net;
        s.clone_with(init, |ns, _| (ns.net, ns.uts) = (foreign, 77));
    }),
    ("PT110", |s| {
        let (pause, _) = app(s);
        let net = s.namespaces(pause).net;
        s.pod("q");
        let visitor = s.container("q", "b");
        s.move_unseen(visitor, |ns| ns.net = net);
        s.exec(visitor);
    }),
    ("PT203", |s| {
        let (pause, _) = app(s);
        s.end(pause, WaitStatus::killed(SIGKILL));
        s.sandbox("p", |_| {});
        s.wait_ms(500);
        s.container("p", "b");
        s.wait_ms(501);
    }),
    ("PT205", |s| {
        let (pause, init) = app(s);
        let daemon = s.fork(init);
        s.move_to(daemon, 1);
        s.fork(daemon);
        s.end(init, WaitStatus::exited(0));
        s.end(pause, WaitStatus::killed(SIGKILL));
        s.remove_pod("p");
        s.wait_ms(1_100);
    }),
    ("PT309", |s| {
        let (pause, init) = app(s);
        s.signal(s.runtime, pause, SIGTERM, SignalResult::Delivered);
        s.end(pause, WaitStatus::exited(0));
        s.signal(s.runtime, init, SIGTERM, SignalResult::Delivered);
        s.wait_ms(1_100);
    }),
    ("PT309", |s| {
        let (pause, _) = app(s);
        s.signal(s.runtime, pause, SIGTERM, SignalResult::Delivered);
        s.end(pause, WaitStatus::exited(0));
        s.wait_ms(500);
        s.remove_pod("p");
    }),
];
