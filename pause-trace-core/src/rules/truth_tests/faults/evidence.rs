//! Faults of PT9xx.

use super::{Fault, app};
use crate::{event::*, rules::testing::*};
use Outcome::Inconclusive;

pub(super) const FAULTS: &[Fault] = &[
    (
        "PT901",
        |s, attach| {
            app(s);
            attach(s);
            s.lose(Kind::Exit, 1);
        },
        Inconclusive,
        Some(Inconclusive),
    ),
    (
        "PT902",
        |s, attach| {
            attach(s);
            let reason = Text::new("EPERM");
            s.push(Fact::HookMissing {
                kind: Kind::Exit,
                reason,
            });
        },
        Inconclusive,
        Some(Inconclusive),
    ),
    (
        "PT903",
        |s, attach| {
            let own = Namespaces {
                mnt: 71,
                net: 72,
                pid: 73,
                pid_children: 73,
                pid_level: 1,
                ..HOST
            };
            let path = Text::new("/kubepods/pod1/a");
            s.push(Fact::CgroupMade { cgroup: 900, path });
            let process = s.enter(s.runtime, 900, own, 1, "nginx");
            s.exec(process);
            attach(s);
            s.wait_ms(1_100);
        },
        Inconclusive,
        None,
    ),
];
