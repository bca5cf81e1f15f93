//! Runs that the kernel left out, which are as good as records that were lost.
//!
//! A program that is interrupted half-way is not run a second time on the same CPU meanwhile: the kernel leaves that run out and
//! counts it (`recursion_misses` of bpf_prog_enter_recur and bpf_trace_run, kernel/bpf/trampoline.c and kernel/trace/bpf_trace.c,
//! told in a program's fdinfo since 5.12). Seen on Linux 7.3 with one emulated CPU: two forks of eighty that nobody heard of, and
//! so two processes that were not watched. For forks, which are the most and matter most, a second program takes what the first was not
//! run for (pause-trace-ebpf/src/probes/fork.rs); what that was not run for either is counted here.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use pause_trace_common::Kind;

use super::load::{Loaded, lost_without};
use crate::event::{Event, Fact, Ktime};

/// How often the kernel is asked at most, in ns: it takes a file a program.
const PERIOD: Ktime = 50_000_000;

/// The programs, and how many of their runs are known to have been left out.
pub(super) struct Missed {
    programs: Vec<(Kind, OwnedFd, u64)>,
    asked: Ktime,
}

impl Missed {
    /// Of all programs that are loaded.
    pub(super) fn of(loaded: &Loaded) -> Self {
        let programs = loaded.ebpf.programs().filter_map(|(name, program)| {
            let fd = program.fd().ok()?.as_fd().try_clone_to_owned().ok()?;
            Some((lost_without(name)?, fd, 0))
        });
        Self {
            programs: programs.collect(),
            asked: 0,
        }
    }

    /// Adds what has been left out since it was asked for last.
    pub(super) fn drain(&mut self, now: Ktime, events: &mut Vec<Event>) {
        if now.saturating_sub(self.asked) < PERIOD {
            return;
        }
        self.asked = now;
        for (kind, program, known) in &mut self.programs {
            let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
            let total = fs::read_to_string(path).map_or(0, |text| misses(&text));
            if total > *known {
                events.push(Event {
                    time: now,
                    fact: Fact::Lost {
                        kind: *kind,
                        count: total - *known,
                    },
                });
                *known = total;
            }
        }
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
    fn a_fork_that_was_left_out_twice_is_a_process_that_is_not_watched() {
        assert_eq!(lost_without("fork"), None);
        assert_eq!(lost_without("fork_again"), Some(Kind::Watch));
        assert_eq!(lost_without("exit"), Some(Kind::Exit));
        assert_eq!(lost_without("setns_exit"), Some(Kind::Namespace));
    }
}
