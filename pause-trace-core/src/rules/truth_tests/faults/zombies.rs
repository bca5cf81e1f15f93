//! Faults of PT4xx.

use super::{Fault, app};
use crate::{event::*, rules::testing::*, signal::SIGKILL};
use Outcome::Fail;

pub(super) const FAULTS: &[Fault] = &[
    (
        "PT401",
        |s, attach| {
            let (_, init) = app(s);
            let child = s.fork(init);
            s.exit(child, WaitStatus::exited(0));
            attach(s);
            s.wait_ms(1_100);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT402",
        |s, attach| {
            let pause = s.shared_pid_pod("p");
            let init = s.container("p", "a");
            let child = s.fork(init);
            let orphan = s.fork(child);
            s.end(child, WaitStatus::exited(0));
            s.exit_to(orphan, pause, WaitStatus::exited(0));
            attach(s);
            s.wait_ms(1_100);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT403",
        |s, attach| {
            let (_, init) = app(s);
            for _ in 0..65 {
                let child = s.fork(init);
                s.exit(child, WaitStatus::exited(0));
            }
            attach(s);
            s.wait_ms(1_100);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT404",
        |s, attach| {
            let (_, init) = app(s);
            let shell = s.session_with(init, |_| {});
            let orphan = s.fork(shell);
            attach(s);
            s.end(shell, WaitStatus::killed(SIGKILL));
            s.exit_to(orphan, init, WaitStatus::exited(0));
            s.wait_ms(1_100);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT405",
        |s, attach| {
            let (_, init) = app(s);
            let child = s.fork(init);
            let orphan = s.fork(child);
            attach(s);
            s.end(child, WaitStatus::exited(0));
            s.exit_to(orphan, s.runtime, WaitStatus::exited(0));
        },
        Fail,
        Some(Fail),
    ),
];
