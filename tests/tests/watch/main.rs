//! What `pause-trace watch` says of pods that real runtimes make.
//!
//! One program, for the tests run beside each other: some do little but wait.

mod containerd;
mod daemons;
mod engines;
mod kubelet;
mod lifecycle;
