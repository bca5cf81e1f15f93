//! The part of pause-trace that judges: it turns events into verdicts and reports.
//!
//! It has no clock, no files, no kernel and no async runtime. Events carry the time, and recordings and reports go through
//! [`Read`](std::io::Read) and [`Write`](std::io::Write). The same events give the same verdicts in every process, and a
//! test needs a list of events and nothing else.
//!
//! - [`event`]: what can happen; everything that is known enters as an event
//! - [`state`]: processes, containers, pods, namespaces and deadlines, as the events say
//! - [`rules`]: the promises that are checked, and the ledger that gives each verdict once
//! - [`verdict`]: what a rule says of a pod, with its evidence
//! - [`news`]: what happens to pods apart from verdicts
//! - [`observer`]: who follows the events beside the rules
//! - [`pipeline`]: from events to verdicts and news; it also records the events
//! - [`record`]: recordings: their format, and how they are written and read
//! - [`report`]: text, JSON, JUnit, SARIF and HTML
//! - [`timeline`]: how a pod came up, in time
//! - [`scenario`]: scenarios, and how the verdicts on their pods decide them
//! - [`text`]: lines for people
//! - [`runtimes`]: the table of container runtimes that are known
//! - [`signal`], [`errno`]: numbers of the kernel and their names

#![forbid(unsafe_code)]

pub mod errno;
pub mod event;
pub mod news;
pub mod observer;
pub mod pipeline;
pub mod record;
pub mod report;
pub mod rules;
pub mod runtimes;
pub mod scenario;
pub mod signal;
pub mod state;
pub mod text;
pub mod timeline;
pub mod verdict;
