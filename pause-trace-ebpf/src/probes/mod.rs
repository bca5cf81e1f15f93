//! The hooks, one file a theme. Each says which kernels have it and with which arguments.

mod cgroup;
mod exec;
mod exit;
mod fork;
mod found;
mod namespace;
mod oom;
mod reap;
mod signal;
