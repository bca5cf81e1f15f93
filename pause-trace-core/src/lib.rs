//! The pure part of pause-trace: it turns events into verdicts and reports.
//!
//! It reads no clock and opens no files, and it needs neither a kernel nor an async runtime. Events
//! carry the time. Recordings and reports go through [`Read`](std::io::Read) and
//! [`Write`](std::io::Write). The same events give the same verdicts in every process, and a test
//! needs only a list of events.
//!
//! - [`event`]: events, the only input of the state
//! - [`state`]: processes, containers, pods, namespaces and deadlines, built from events
//! - [`rules`]: the promises that are checked, and the ledger that reports each verdict once
//! - [`verdict`]: what a rule decided about a pod, with its evidence
//! - [`news`]: pods and containers that start, end or are verified
//! - [`observer`]: the trait of what follows the events beside the rules
//! - [`pipeline`]: turns events into verdicts and news, and records the events
//! - [`policy`]: severities and exceptions that the owner of a node decides
//! - [`measure`]: how often things happen and how long they take, for metrics
//! - [`record`]: the format of recordings, and its reader and writer
//! - [`report`]: text, JSON, JUnit, SARIF and HTML
//! - [`timeline`]: how a pod started, step by step
//! - [`scenario`]: scenarios, and how the verdicts on their pods decide their outcome
//! - [`why`]: why a pod is slow, stuck or dead
//! - [`stop_outlook`]: what a stop signal would do to a process
//! - [`text`]: formatting of text output
//! - [`runtimes`]: the table of supported container runtimes
//! - [`signal`], [`errno`]: the kernel's numbers and their names

#![forbid(unsafe_code)]

pub mod errno;
pub mod event;
pub mod measure;
pub mod news;
pub mod observer;
pub mod pipeline;
pub mod policy;
pub mod record;
pub mod report;
pub mod rules;
pub mod runtimes;
pub mod scenario;
pub mod signal;
pub mod state;
pub mod stop_outlook;
pub mod text;
pub mod timeline;
pub mod verdict;
pub mod why;
