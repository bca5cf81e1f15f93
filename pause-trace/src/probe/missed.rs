//! Counts runs that the kernel skipped, which are equivalent to lost records.
//!
//! While a program is interrupted, the kernel does not run the same program again on that CPU. It
//! skips that run and counts it (`recursion_misses` of bpf_prog_enter_recur and bpf_trace_run,
//! kernel/bpf/trampoline.c and kernel/trace/bpf_trace.c, in a program's fdinfo since 5.12).
//! Observed on Linux 7.3 with one emulated CPU: two of eighty forks were not reported, and so two
//! processes were not watched. Hooks where this happens have a second program that reports the runs
//! that the first one was skipped for (pause-trace-ebpf/src/probes/mod.rs). Runs that both were
//! skipped for are counted here.

use std::{
    fs, iter,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::programs::Program;
use pause_trace_common::Kind;

use super::load::{Loaded, lost_without, second};
use crate::event::{Event, Fact, Ktime};

/// The shortest time between two reads of the counters, in ns. Each program's counter is in a file
/// of its own.
const PERIOD: Ktime = 50_000_000;

/// The counters of all hooks.
pub(super) struct Missed {
    hooks: Vec<Hook>,
    last_read: Ktime,
}

struct Hook {
    kind: Kind,
    name: String,
    /// Each program reports the runs that those before it were skipped for.
    programs: Vec<OwnedFd>,
    /// The skipped runs that have been reported.
    reported: u64,
}

impl Missed {
    /// The counters of all loaded programs.
    pub(super) fn of(loaded: &Loaded) -> Self {
        let descriptor = |program: &Program| program.fd().ok()?.as_fd().try_clone_to_owned().ok();
        let hooks = loaded.ebpf.programs().filter_map(|(name, first)| {
            let second = loaded.ebpf.program(&second(name)?);
            let programs = iter::once(first).chain(second).filter_map(descriptor);
            Some(Hook {
                kind: lost_without(name)?,
                name: name.to_owned(),
                programs: programs.collect(),
                reported: 0,
            })
        });
        Self {
            hooks: hooks.collect(),
            last_read: 0,
        }
    }

    /// The skipped runs of each program, also those that its second program reported.
    pub(super) fn by_program(&self) -> Vec<(String, u64)> {
        let of = |hook: &Hook| {
            let again = second(&hook.name).unwrap_or_default();
            let names = [hook.name.clone(), again];
            let programs = names.into_iter().zip(&hook.programs);
            let counts = programs.map(|(name, program)| (name, Hook::misses(program)));
            counts.collect::<Vec<_>>()
        };
        self.hooks.iter().flat_map(of).collect()
    }

    /// Adds the runs that were skipped since the last call as losses.
    pub(super) fn drain(&mut self, now: Ktime, events: &mut Vec<Event>) {
        if now.saturating_sub(self.last_read) < PERIOD {
            return;
        }
        self.last_read = now;
        for hook in &mut self.hooks {
            let total = hook.skipped();
            if total > hook.reported {
                events.push(Event {
                    time: now,
                    fact: Fact::Lost {
                        kind: hook.kind,
                        count: total - hook.reported,
                    },
                });
                hook.reported = total;
            }
        }
    }
}

impl Hook {
    /// An upper bound of the runs that all programs were skipped for: the smallest of their
    /// counters.
    fn skipped(&self) -> u64 {
        let all = self.programs.iter().map(Self::misses);
        all.min().unwrap_or_default()
    }

    fn misses(program: &OwnedFd) -> u64 {
        let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
        fs::read_to_string(path).map_or(0, |text| misses(&text))
    }
}

/// The counter in a fdinfo file; 0 on kernels that do not report it.
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
    fn the_counter_is_read_from_fdinfo() {
        let fdinfo =
            "pos:\t0\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t2\nverified_insns:\t812\n";
        assert_eq!(misses(fdinfo), 2);
        assert_eq!(misses("pos:\t0\nprog_type:\t26\n"), 0);
    }

    #[test]
    fn a_skipped_fork_is_a_process_that_is_not_watched() {
        for (program, lost) in [
            ("fork", Kind::Watch),
            ("exit", Kind::Exit),
            ("signal_generate", Kind::SignalGenerate),
            ("setns_fentry", Kind::Namespace),
        ] {
            assert_eq!(lost_without(program), Some(lost), "{program}");
        }
    }

    #[test]
    fn a_connection_whose_packet_interrupts_the_program_is_no_loss() {
        assert_eq!(lost_without("listen"), None);
    }
}
