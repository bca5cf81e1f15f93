//! Faults of PT1xx.

use super::{Fault, NET, app, own_users, placed};
use crate::{event::*, rules::testing::*};
use Outcome::{Fail, Inconclusive};

pub(super) const FAULTS: &[Fault] = &[
    (
        "PT101",
        |s, attach| placed(s, attach, |ns| ns.net = 77),
        Fail,
        Some(Fail),
    ),
    (
        "PT102",
        |s, attach| placed(s, attach, |ns| ns.ipc = 77),
        Fail,
        Some(Fail),
    ),
    (
        "PT103",
        |s, attach| placed(s, attach, |ns| ns.uts = 77),
        Fail,
        Some(Fail),
    ),
    (
        "PT104",
        |s, attach| {
            placed(s, attach, |ns| {
                (ns.pid, ns.pid_children, ns.pid_level) = (HOST.pid, HOST.pid, 0);
            });
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT105",
        |s, attach| {
            s.pod_with("p", Modes::plain(), |ns| ns.net = HOST.net);
            attach(s);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT106",
        |s, attach| {
            s.pod_with("p", own_users(), |ns| ns.net_owner = HOST.user);
            s.container("p", "a");
            attach(s);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT107",
        |s, attach| placed(s, attach, |ns| ns.mnt = HOST.mnt),
        Fail,
        Some(Fail),
    ),
    (
        "PT108",
        |s, attach| {
            let (_, init) = app(s);
            attach(s);
            s.change_namespaces(init, NamespaceCall::Unshare, NET, 0, |ns| ns.net = 77);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT109",
        |s, attach| {
            let (_, init) = app(s);
            attach(s);
            s.change_namespaces(init, NamespaceCall::Setns, 0, 0, |ns| ns.mnt = HOST.mnt);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT110",
        |s, attach| {
            let (pause, _) = app(s);
            let net = s.namespaces(pause).net;
            attach(s);
            let visitor = s.fork(s.stranger);
            s.change_namespaces(visitor, NamespaceCall::Setns, NET, 0, |ns| ns.net = net);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT111",
        |s, attach| {
            s.pod("p");
            let cgroup = s.declare_container("p", "a", ContainerKind::App, &Modes::plain());
            let setup = s.enter(s.runtime, cgroup, HOST, 0, "runc:[1:CHILD]");
            s.change_namespaces(setup, NamespaceCall::Setns, NET, 22, |_| {});
            attach(s);
            s.end(setup, WaitStatus::exited(1));
            s.wait_ms(5_000);
        },
        Fail,
        None,
    ),
    (
        "PT112",
        |s, attach| {
            let (_, init) = app(s);
            s.session_with(init, |ns| *ns = HOST);
            attach(s);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT113",
        |s, attach| {
            app(s);
            attach(s);
            s.observe("p", "a", Observed::NetworkReady, false, "lo is down");
        },
        Fail,
        Some(Inconclusive),
    ),
    (
        "PT114",
        |s, attach| {
            app(s);
            attach(s);
            s.observe("p", "a", Observed::NetworkReady, true, "10.88.0.2");
            for _ in 0..2 {
                s.wait_ms(5_000);
                s.observe("p", "a", Observed::NetworkReady, false, "no address");
            }
        },
        Fail,
        Some(Fail),
    ),
];
