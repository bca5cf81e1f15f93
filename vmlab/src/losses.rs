//! Machines that are lost on purpose, to see that it is noticed: a check that cannot fail proves nothing.
//!
//! The guest does what its plan says after `!`. A panic, an end before the last line, a line after it and silence are real; what
//! a kernel says of an oops, a stall and a lock-up is put into its log by the guest, as nothing in user space makes a healthy kernel
//! say it.

use std::time::Duration;

use anyhow::Error;

use crate::{
    host::{Host, Shape},
    judge::Cell,
    kernels::Kernel,
    qemu::Patience,
};

/// A way to lose a machine, and what the error has to say.
struct Loss {
    name: &'static str,
    /// What the guest does.
    plan: &'static str,
    said: &'static str,
}

const LOSSES: [Loss; 7] = [
    Loss {
        name: "panic",
        plan: "!panic",
        said: "sysrq triggered crash",
    },
    Loss {
        name: "oops",
        plan: "!log\tOops: 0002 [#1] SMP NOPTI",
        said: "the kernel is in trouble: ",
    },
    Loss {
        name: "stall",
        plan: "!log\trcu: INFO: rcu_sched self-detected stall on CPU",
        said: "the kernel is in trouble: ",
    },
    Loss {
        name: "lock-up",
        plan: "!log\twatchdog: BUG: soft lockup - CPU#0 stuck for 22s! [init:1]",
        said: "the kernel is in trouble: ",
    },
    Loss {
        name: "silence",
        plan: "!silence",
        said: "the machine has said nothing for",
    },
    Loss {
        name: "no-last-line",
        plan: "!end",
        said: "the machine stopped before its last line",
    },
    Loss {
        name: "two-last-lines",
        plan: "!twice",
        said: "the machine went on after its last line",
    },
];

/// Those that are tried where time is short.
pub(crate) const FEW: usize = 1;

/// A machine that boots in emulation on a busy host is silent for that long at most.
const PATIENCE: Patience = Patience {
    whole: Duration::from_secs(90),
    silence: Duration::from_secs(40),
};

/// Loses a machine in each way, or in the first `count` of them.
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
        match unnoticed(loss, &result) {
            Some(trouble) => cell.troubles.push(trouble),
            None => cell.passed += 1,
        }
    }
    cell
}

/// Why the loss was not noticed as it should be.
fn unnoticed(loss: &Loss, result: &Result<(), Error>) -> Option<String> {
    let Err(error) = result else {
        return Some(format!("{}: nobody noticed", loss.name));
    };
    let error = format!("{error:#}");
    let shows_console =
        error.contains("the console's last lines:") || !loss.plan.starts_with("!log");
    (!error.contains(loss.said) || !shows_console)
        .then(|| format!("{}: was taken for: {error}", loss.name))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_loss_has_to_be_noticed_as_what_it_is() {
        let loss = &LOSSES[0];
        assert!(unnoticed(loss, &Ok(())).is_some());
        assert!(unnoticed(loss, &Err(anyhow!("qemu failed"))).is_some());
        let noticed = anyhow!("Kernel panic - not syncing: sysrq triggered crash");
        assert_eq!(unnoticed(loss, &Err(noticed)), None);
    }
}
