//! Faults of PT5xx.

use super::Fault;
use crate::rules::testing::*;
use Outcome::Fail;

pub(super) const FAULTS: &[Fault] = &[
    (
        "PT501",
        |s, attach| {
            s.pod("p");
            attach(s);
            s.pause_status("p", |status| status.threads = 2);
        },
        Fail,
        Some(Fail),
    ),
    (
        "PT502",
        |s, attach| {
            let pause = s.pod("p");
            s.exec(pause);
            attach(s);
        },
        Fail,
        None,
    ),
    (
        "PT503",
        |s, attach| {
            s.pod("p");
            attach(s);
            s.pause_status("p", |status| status.no_new_privs = false);
        },
        Fail,
        Some(Fail),
    ),
];
