//! Faults of PT2xx.

use super::{Fault, app, create, pin, sandbox, supervised};
use crate::{event::*, rules::testing::*, signal::SIGKILL};
use Outcome::{Fail, Inconclusive};

pub(super) const FAULTS: &[Fault] = &[
    (
        "PT201",
        |s, attach| {
            s.declare_pod("p", &Modes::plain());
            let of_pause =
                s.declare_container("p", "sandbox", ContainerKind::Sandbox, &Modes::plain());
            let of_app = s.declare_container("p", "a", ContainerKind::App, &Modes::plain());
            let own = |pid| Namespaces {
                pid,
                pid_level: 1,
                ..HOST
            };
            let init = s.enter(s.runtime, of_app, own(50), 1, "a");
            s.exec(init);
            s.wait_ms(5);
            let pause = s.enter(s.runtime, of_pause, own(51), 1, "pause");
            s.exec(pause);
            attach(s);
        },
        Fail,
        Some(Inconclusive),
    ),
    (
        "PT202",
        |s, attach| {
            let (pause, _) = app(s);
            attach(s);
            s.signal(s.stranger, pause, SIGKILL, SignalResult::Delivered);
            s.end(pause, WaitStatus::killed(SIGKILL));
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT203",
        |s, attach| {
            let (pause, _) = app(s);
            attach(s);
            s.end(pause, WaitStatus::killed(SIGKILL));
            s.sandbox("p", |_| {});
            s.wait_ms(1_001);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT204",
        |s, attach| {
            app(s);
            attach(s);
            let container = sandbox(s);
            s.push(Fact::SandboxUnknown { container });
            s.wait_ms(1_001);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT205",
        |s, attach| {
            let (pause, init) = app(s);
            s.fork(init);
            attach(s);
            s.end(pause, WaitStatus::killed(SIGKILL));
            s.remove_pod("p");
            s.wait_ms(1_100);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT206",
        |s, attach| {
            let (pause, init) = app(s);
            attach(s);
            pin(s);
            for process in [init, pause] {
                s.end(process, WaitStatus::killed(SIGKILL));
            }
            s.remove_pod("p");
            s.wait_ms(1_100);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT207",
        |s, attach| {
            s.pod("p");
            let cgroup = s.declare_container("p", "a", ContainerKind::App, &Modes::plain());
            let namespaces = s.namespaces_for("p", &Modes::plain());
            s.enter(s.runtime, cgroup, namespaces, 1, "runc:[2:INIT]");
            attach(s);
            s.wait_ms(1_100);
        },
        Fail,
        None,
    ),
    (
        "PT208",
        |s, attach| {
            let (_, init) = app(s);
            let session = s.session_with(init, |_| {});
            s.exit(init, WaitStatus::exited(0));
            s.exit(session, WaitStatus::killed(SIGKILL));
            attach(s);
            s.wait_ms(1_100);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT209",
        |s, attach| {
            let (_, init) = app(s);
            attach(s);
            for _ in 0..4 {
                let shell = s.session_with(init, |_| {});
                s.fork(shell);
                s.wait_ms(2_000);
                s.end(shell, WaitStatus::killed(SIGKILL));
            }
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT210",
        |s, attach| {
            let shim = supervised(s, |s| {
                app(s);
            });
            attach(s);
            s.push(Fact::Runtime { process: shim });
            s.signal(s.stranger, shim, SIGKILL, SignalResult::Delivered);
            s.exit(shim, WaitStatus::killed(SIGKILL));
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT211",
        |s, attach| {
            let (_, init) = app(s);
            let child = s.fork(init);
            attach(s);
            s.signal_with_code(init, child, SIGKILL, SignalResult::Delivered, SI_KERNEL);
            s.push(Fact::OomVictim { pid: child.pid });
            s.end(child, WaitStatus::killed(SIGKILL));
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT212",
        |s, attach| {
            app(s);
            attach(s);
            s.declare_container("p", "bad", ContainerKind::App, &Modes::plain());
            create(s, "bad", WaitStatus::exited(1));
        },
        Fail,
        Some(Fail),
    ),
];
