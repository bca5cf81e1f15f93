//! The hooks, one file a theme. Each says which kernels have it and with which arguments.
//!
//! Forks, execs and exits, and what is seen by fexit, have two programs, which do the same and report nothing twice. Where they may
//! be preempted (Linux 7 preempts tracepoints), a program that one process is half-way through is not run for another on the same
//! CPU (`bpf_trace_run`, kernel/trace/bpf_trace.c; `__bpf_prog_enter_recur`, kernel/bpf/trampoline.c), and a fork that nobody heard
//! of is a process that nobody watches. Whoever is half-way through the first program is not in the second one. The other hooks
//! run where nobody is preempted (kprobes, system calls' tracepoints, under a spin lock, in a softirq), or where one holds a mutex
//! that the next waits for.

mod cgroup;
mod exec;
mod exit;
mod fork;
mod found;
mod namespace;
mod oom;
mod reap;
mod signal;
