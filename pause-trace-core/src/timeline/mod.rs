//! How a pod came to be, in time: which process did what for it, how long that took, and what all waited for.
//!
//! Whose a process of the runtime is becomes known late: the plugins that make a pod's network run before anything bears its
//! name. So the [`Journal`] keeps what may belong to any pod, bounded, and [`Timeline::of`] reads one pod out of it, at any
//! time, by evidence: a namespace entered, a cgroup, a parent. What has no evidence is shown as nobody's.

mod build;
mod containers;
mod critical;
mod journal;
mod json;
mod model;
mod network;
mod perfetto;
mod programs;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use journal::Journal;
pub use json::{element_line, lines};
pub use model::{Element, Timeline};
pub use perfetto::trace;
pub use text::{line, shown};
