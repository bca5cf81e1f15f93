//! `check --cri`: verifies the same promises on pods that a real runtime creates.
//!
//! `runtime` requests pods and containers as a kubelet does, `stage` waits for the kernel's events
//! of them, and `scenarios` contains healthy and broken pods. A `mark` tells which run created a
//! pod, cgroup or directory; `leftovers` removes them, also those of a run that was killed. The
//! verifier learns what a pod should be in the same way as for any other pod of the node. The only
//! fact declared to it is the grace period of a stop, which no runtime reports.

mod failure;
mod leftovers;
mod mark;
mod runtime;
pub(crate) mod scenario;
pub(crate) mod scenarios;
pub(crate) mod stage;

pub(crate) use runtime::Runtime;
