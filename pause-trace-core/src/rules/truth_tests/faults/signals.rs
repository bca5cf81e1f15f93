//! Faults of PT3xx.

use super::{Fault, app, kill};
use crate::{
    event::*,
    rules::testing::*,
    signal::{SIGHUP, SIGKILL, SIGTERM},
};
use Outcome::Fail;

pub(super) const FAULTS: &[Fault] = &[
    (
        "PT301",
        |s, attach| {
            let (_, init) = app(s);
            attach(s);
            s.stop_pod("p", 1_200);
            s.signal(s.runtime, init, SIGTERM, SignalResult::Ignored);
            s.wait_ms(1_200);
            kill(s, init);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT302",
        |s, attach| {
            let (_, init) = app(s);
            attach(s);
            s.stop_pod("p", 1_200);
            s.signal(s.runtime, init, SIGTERM, SignalResult::Delivered);
            s.handle(init, SIGTERM);
            s.wait_ms(1_200);
            kill(s, init);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT303",
        |s, attach| {
            let (_, init) = app(s);
            attach(s);
            s.stop_pod("p", 1_200);
            kill(s, init);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT304",
        |s, attach| {
            let (_, init) = app(s);
            let child = s.fork(init);
            attach(s);
            s.signal(s.runtime, init, SIGTERM, SignalResult::Delivered);
            s.handle(init, SIGTERM);
            s.wait_ms(1_100);
            s.signal(s.runtime, init, SIGKILL, SignalResult::Delivered);
            s.exit(init, WaitStatus::killed(SIGKILL));
            s.cut_off(init, child, &[SIGTERM], &[SIGTERM]);
            s.reap(init);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT305",
        |s, attach| {
            let (_, init) = app(s);
            attach(s);
            s.signal(s.runtime, init, SIGTERM, SignalResult::Delivered);
            s.signal(s.stranger, init, SIGTERM, SignalResult::AlreadyPending);
            s.handle(init, SIGTERM);
            s.end(init, WaitStatus::exited(0));
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT306",
        |s, attach| {
            let pause = s.pod("p");
            attach(s);
            s.signal(s.runtime, pause, SIGTERM, SignalResult::Delivered);
            s.handle(pause, SIGTERM);
            s.end(pause, WaitStatus::exited(1));
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT307",
        |s, attach| {
            let (pause, _) = app(s);
            attach(s);
            s.signal(s.stranger, pause, SIGHUP, SignalResult::Delivered);
            s.end(pause, WaitStatus::killed(SIGHUP));
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT308",
        |s, attach| {
            let (_, init) = app(s);
            attach(s);
            s.signal(s.runtime, init, SIGTERM, SignalResult::Delivered);
            s.wait_ms(1_100);
            kill(s, init);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT309",
        |s, attach| {
            let (pause, _) = app(s);
            attach(s);
            s.stop_pod("p", 1_000);
            s.signal(s.runtime, pause, SIGTERM, SignalResult::Delivered);
            s.handle(pause, SIGTERM);
            s.end(pause, WaitStatus::exited(0));
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT310",
        |s, attach| {
            let (_, init) = app(s);
            attach(s);
            s.signal(s.stranger, init, SIGKILL, SignalResult::Delivered);
            s.end(init, WaitStatus::killed(SIGKILL));
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT311",
        |s, attach| {
            let (_, init) = app(s);
            let worker = s.fork(init);
            attach(s);
            s.signal(s.runtime, init, SIGTERM, SignalResult::Delivered);
            s.handle(init, SIGTERM);
            s.exit(init, WaitStatus::exited(0));
            s.cut_off(init, worker, &[SIGTERM], &[SIGTERM]);
            s.reap(init);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT312",
        |s, attach| {
            let (_, init) = app(s);
            s.wait_ms(10_000);
            attach(s);
            s.signal_masks(init, SignalMasks::default());
        },
        Fail,
        Some(Fail),
    ),
];
