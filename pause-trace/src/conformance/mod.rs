//! The same promises on pods that a real runtime makes: `check --cri`.
//!
//! `runtime` asks for pods and containers as a kubelet does, `stage` waits for what the kernel says of them, `scenarios`
//! are lives of such pods, sound and broken. Whose pods, cgroups and directories are whose is in their `mark`; `leftovers`
//! removes them, also those of a run that was killed. What a pod is meant to be, the verifier learns as it does of any other
//! pod of the node: nothing is declared to it but for how long a stop may take, which no runtime tells.

mod failure;
mod leftovers;
mod mark;
mod runtime;
pub(crate) mod scenario;
pub(crate) mod scenarios;
pub(crate) mod stage;

pub(crate) use runtime::Runtime;
