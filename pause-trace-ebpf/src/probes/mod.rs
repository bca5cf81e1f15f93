//! The hooks, one file per topic. A `match-proto:` comment at each hook states its arguments and
//! the first kernel version that has them.
//!
//! The hooks of forks, execs and exits, and those with fexit, have two programs, which do the same;
//! an event is reported only once. If a program can be preempted (Linux 7 preempts tracepoints)
//! while it runs for one process, the kernel skips it for other processes on the same CPU
//! (`bpf_trace_run`, kernel/trace/bpf_trace.c; `__bpf_prog_enter_recur`, kernel/bpf/trampoline.c).
//! After a missed fork, the child would never be watched. A process that was preempted in the first
//! program is not in the second one, so the kernel runs the second one. The other hooks run where
//! they cannot be preempted (kprobes, system call tracepoints, under a spin lock, in a softirq), or
//! while their process holds a mutex that the next process waits for.

mod cgroup;
mod exec;
mod exit;
mod fork;
mod found;
mod listen;
mod namespace;
mod oom;
mod reap;
mod signal;
