//! Runs that the kernel left out, which are as good as records that were lost.
//!
//! A program that is interrupted half-way is not run a second time on the same CPU meanwhile: the kernel leaves that run out and
//! counts it (`recursion_misses` of bpf_prog_enter_recur and bpf_trace_run, kernel/bpf/trampoline.c and kernel/trace/bpf_trace.c,
//! told in a program's fdinfo since 5.12). Seen on Linux 7.3 with one emulated CPU: two forks of eighty that nobody heard of, and
//! so two processes that were not watched. Hooks where that happens have a second program that takes what the first was not run for
//! (pause-trace-ebpf/src/probes/mod.rs); what that was not run for either is counted here.

use std::{
    fs, iter,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::programs::Program;
use pause_trace_common::Kind;

use super::load::{Loaded, lost_without, second};
use crate::event::{Event, Fact, Ktime};

/// How often the kernel is asked at most, in ns: it takes a file a program.
const PERIOD: Ktime = 50_000_000;

/// The hooks.
pub(super) struct Missed {
    hooks: Vec<Hook>,
    asked: Ktime,
}

struct Hook {
    kind: Kind,
    /// Each reports what those before it were not run for.
    programs: Vec<OwnedFd>,
    /// How much is known to have been left out.
    known: u64,
}

impl Missed {
    /// Of all programs that are loaded.
    pub(super) fn of(loaded: &Loaded) -> Self {
        let descriptor = |program: &Program| program.fd().ok()?.as_fd().try_clone_to_owned().ok();
        let hooks = loaded.ebpf.programs().filter_map(|(name, first)| {
            let second = loaded.ebpf.program(&second(name)?);
            let programs = iter::once(first).chain(second).filter_map(descriptor);
            Some(Hook {
                kind: lost_without(name),
                programs: programs.collect(),
                known: 0,
            })
        });
        Self {
            hooks: hooks.collect(),
            asked: 0,
        }
    }

    /// Adds what has been left out since it was asked for last.
    pub(super) fn drain(&mut self, now: Ktime, events: &mut Vec<Event>) {
        if now.saturating_sub(self.asked) < PERIOD {
            return;
        }
        self.asked = now;
        for hook in &mut self.hooks {
            let total = hook.left_out();
            if total > hook.known {
                events.push(Event {
                    time: now,
                    fact: Fact::Lost {
                        kind: hook.kind,
                        count: total - hook.known,
                    },
                });
                hook.known = total;
            }
        }
    }
}

impl Hook {
    /// What no program was run for is among what each of them was not run for: at most that much.
    fn left_out(&self) -> u64 {
        let misses = |program: &OwnedFd| {
            let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
            fs::read_to_string(path).map_or(0, |text| misses(&text))
        };
        self.programs.iter().map(misses).min().unwrap_or_default()
    }
}

/// 0 on kernels that do not tell.
fn misses(fdinfo: &str) -> u64 {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_where_the_kernel_tells_them() {
        let fdinfo =
            "pos:\t0\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t2\nverified_insns:\t812\n";
        assert_eq!(misses(fdinfo), 2);
        assert_eq!(misses("pos:\t0\nprog_type:\t26\n"), 0);
    }

    #[test]
    fn a_fork_that_was_left_out_is_a_process_that_is_not_watched() {
        assert_eq!(lost_without("fork"), Kind::Watch);
        assert_eq!(lost_without("exit"), Kind::Exit);
        assert_eq!(lost_without("signal_generate"), Kind::SignalGenerate);
        assert_eq!(lost_without("setns_fentry"), Kind::Namespace);
    }
}
