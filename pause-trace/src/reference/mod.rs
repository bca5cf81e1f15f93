//! The reference pod: a real pause, real namespaces, real containers, verified like any other pod.
//!
//! `runtime` and `workload` are the processes, `pod` asks them; a `stage` declares to the verifier what a pod is meant to
//! be and sees that it is judged; `scenarios` are healthy pods, `faults` broken ones; `scenario` plays one; `patience` says for how
//! slow a machine. `image` is for pods that a real runtime makes.

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
pub(crate) mod workload;

/// The pause that is built in: an executable file.
pub(crate) fn pause_binary() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/pause"))
}
