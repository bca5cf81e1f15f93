//! The reference pod: a real pause, real namespaces, real containers, verified like any other pod.
//!
//! `runtime` and `workload` are processes, and `pod` controls them. A `stage` declares a pod to the
//! verifier and waits for the verdicts. `scenarios` contains healthy pods, `faults` broken ones,
//! and `scenario` runs either. `trial` starts a pause once before that. `patience` scales all waits
//! for slow machines. `image` builds the container image for pods that a real runtime creates.

use std::time::Duration;

pub(crate) mod broken_pause;
pub(crate) mod bystander;
pub(crate) mod faults;
pub(crate) mod image;
pub(crate) mod patience;
pub(crate) mod pod;
pub(crate) mod protocol;
pub(crate) mod runtime;
pub(crate) mod scenario;
pub(crate) mod scenarios;
pub(crate) mod stage;
pub(crate) mod trial;
pub(crate) mod workload;

/// How long a scenario leaves a pause alone, unless `--idle` says otherwise.
pub(crate) const IDLE: Duration = Duration::from_secs(2);

/// The built-in pause, an executable file.
pub(crate) fn pause_binary() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/pause"))
}
