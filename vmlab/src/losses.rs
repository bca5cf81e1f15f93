//! Loses machines on purpose, to check that the lab detects it: a check that cannot fail proves
//! nothing.
//!
//! The guest does what its plan says after `!`. A panic, an end before the last line, a line after
//! it and silence are real. The messages of an oops, a stall and a lock-up are written to the
//! kernel's log by the guest, because user space cannot make a healthy kernel print them.

use std::time::Duration;

use anyhow::Error;

use crate::{
    host::{Host, Shape},
    judge::Cell,
    kernels::Kernel,
    qemu::Patience,
};

/// A way to lose a machine, and the text that the error must contain.
struct Loss {
    name: &'static str,
    /// What the guest does.
    plan: &'static str,
    error: &'static str,
}

const LOSSES: [Loss; 7] = [
    Loss {
        name: "panic",
        plan: "!panic",
        error: "sysrq triggered crash",
    },
    Loss {
        name: "oops",
        plan: "!log\tOops: 0002 [#1] SMP NOPTI",
        error: "the kernel reports an error: ",
    },
    Loss {
        name: "stall",
        plan: "!log\trcu: INFO: rcu_sched self-detected stall on CPU",
        error: "the kernel reports an error: ",
    },
    Loss {
        name: "lock-up",
        plan: "!log\twatchdog: BUG: soft lockup - CPU#0 stuck for 22s! [init:1]",
        error: "the kernel reports an error: ",
    },
    Loss {
        name: "silence",
        plan: "!silence",
        error: "the machine printed nothing for",
    },
    Loss {
        name: "no-last-line",
        plan: "!end",
        error: "the machine stopped before its last line",
    },
    Loss {
        name: "two-last-lines",
        plan: "!twice",
        error: "the machine printed a line after its last line",
    },
];

/// How many of them a fast run tries.
pub(crate) const FEW: usize = 1;

/// A machine that boots in emulation on a busy host prints something sooner than this.
const PATIENCE: Patience = Patience {
    whole: Duration::from_secs(90),
    silence: Duration::from_secs(40),
};

/// Loses a machine in each of the first `count` ways.
pub(crate) fn lose(host: &Host, kernel: &Kernel, count: usize) -> Cell {
    let mut cell = Cell::default();
    for loss in LOSSES.iter().take(count) {
        let shape = Shape {
            name: loss.name,
            cpus: 1,
            parameters: "",
            containerd: false,
            patience: PATIENCE,
        };
        let plan = format!("v2\n{}\n", loss.plan);
        let result = host.boot(kernel, &shape, &plan, |_| Ok(()));
        cell.all += 1;
        match undetected(loss, &result) {
            Some(trouble) => cell.troubles.push(trouble),
            None => cell.passed += 1,
        }
    }
    cell
}

/// Why the loss was not detected correctly; `None` if it was.
fn undetected(loss: &Loss, result: &Result<(), Error>) -> Option<String> {
    let Err(error) = result else {
        return Some(format!("{}: not detected", loss.name));
    };
    let error = format!("{error:#}");
    let shows_console =
        error.contains("the console's last lines:") || !loss.plan.starts_with("!log");
    (!error.contains(loss.error) || !shows_console)
        .then(|| format!("{}: detected as another error: {error}", loss.name))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_loss_is_detected_by_its_own_error() {
        let loss = &LOSSES[0];
        assert!(undetected(loss, &Ok(())).is_some());
        assert!(undetected(loss, &Err(anyhow!("qemu failed"))).is_some());
        let detected = anyhow!("Kernel panic - not syncing: sysrq triggered crash");
        assert_eq!(undetected(loss, &Err(detected)), None);
    }
}
