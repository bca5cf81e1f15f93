//! The history: `watch` keeps its last events in memory, and answers who asks for them.
//!
//! An answer is a recording, so the asking side parses it with the reader that it has, and the
//! watch parses nothing but a line of bounded length. The store ([`Store`]) has two halves, like a
//! recording with a size limit: if one is full, the older one is dropped. The server has threads of
//! its own, which hold no capability, and takes from the store references to finished frames, so
//! who asks delays nothing.
//!
//! # Protocol, version 1
//!
//! ```text
//! request   "pause-trace history 1\n"
//! answer    a JSON object in a line ([`Head`]): `error`, or `parts` with the size of each
//!           then the bytes of the parts: the older half, if there is one, and the newer half
//! ```

mod ask;
mod place;
mod serve;
mod store;
#[cfg(test)]
mod tests;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::unistd::{Uid, geteuid};
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    ask::{History, NotAnswered, ask},
    serve::Server,
    store::{Keeping, Store},
};
use crate::event::Ktime;

/// Where a watch answers, unless the user names another socket.
pub(crate) const SOCKET: &str = "/run/pause-trace/watch.sock";

/// The beginning of a request; the version follows.
const REQUEST: &str = "pause-trace history ";
const VERSION: u32 = 1;

/// The longest request.
const MAX_REQUEST: usize = 64;

/// How long the other side may take to send or to receive anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// The first line of an answer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Head {
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The halves, the older one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartHead>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PartHead {
    /// The time of its beginning.
    since_ns: Ktime,
    bytes: u64,
    /// The pods of which records were left out, the most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_none")]
    left_out_more: usize,
}

/// Most pods in the head of a part of which records were left out.
const MAX_LEFT_OUT: usize = 3;

/// Most bytes of the name of one.
const MAX_NAME: usize = 330;

/// A pod of which records were left out, because it had written its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    /// Its namespace and name, escaped.
    pub(crate) pod: String,
    pub(crate) records: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_none(number: &usize) -> bool {
    *number == 0
}

/// Whether a peer may be asked or answered: root, or the user of this process.
fn is_trusted(uid: u32) -> bool {
    let uid = Uid::from_raw(uid);
    uid.is_root() || uid == geteuid()
}

/// Ignores poisoning: the program aborts when a thread panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
