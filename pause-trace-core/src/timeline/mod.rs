//! The timeline of a pod: which process did what for it, how long that took, and what the start
//! waited for.
//!
//! The pod that a process of the runtime works for becomes known late: the plugins that set up a
//! pod's network run before any record contains the pod's name. So the [`Journal`] keeps everything
//! that may belong to some pod, within limits, and [`Timeline::of`] extracts one pod at any time.
//! It attributes a process by evidence: a namespace that it entered, a cgroup, or a parent. A
//! process without evidence is shown as unassigned.

mod build;
mod called;
mod containers;
mod critical;
mod expected;
mod journal;
mod json;
mod model;
mod network;
mod perfetto;
mod phases;
mod programs;
mod start;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub(crate) use build::Index;
pub use called::Called;
pub use journal::Journal;
pub use json::{element_line, lines};
pub use model::{Element, Timeline};
pub use perfetto::trace;
pub use phases::Phases;
pub(crate) use start::Start;
pub use text::{line, shown};
