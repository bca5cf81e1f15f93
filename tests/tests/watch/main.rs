//! `pause-trace watch` on pods of real runtimes.
//!
//! The tests are in one program, so that they run beside each other: some of them do little but
//! wait.

mod confined;
mod containerd;
mod daemons;
mod engines;
mod frozen;
mod hooks;
mod impostors;
mod kubelet;
mod late;
mod lifecycle;
mod listen;
mod metrics;
mod plants;
mod restarts;
mod scene;
mod starts;
mod stops;
mod storms;
