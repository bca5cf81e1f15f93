//! What a session gives up once its hooks are attached.
//!
//! From then on it reads text that pods control, so a mistake in reading it should be worth little
//! to a pod. docs/security.md lists what is kept, and for what.

use std::{os::fd::RawFd, path::Path};

use caps::Capability;
use nix::unistd::AccessFlags;

use super::Session;
use crate::{
    confine::{self, Set},
    live::Live,
    node,
};

/// Sockets at which a command accepts connections: the history's and that of the metrics.
pub(crate) type Listeners = [Option<RawFd>; 2];

/// What a command still does once it observes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Confine<'a> {
    /// The user wants nothing to be given up.
    Off,
    /// It opens no further file for writing.
    Reading,
    /// The same, and it accepts connections at these sockets, which listen already.
    Answering(Listeners),
    /// It creates this file at its end.
    Writing(&'a Path),
}

impl Confine<'_> {
    /// The same for a command that accepts connections at these sockets, if there are any.
    pub(crate) fn answering(self, listeners: Listeners) -> Self {
        match self {
            Self::Reading if listeners.iter().any(Option::is_some) => Self::Answering(listeners),
            other => other,
        }
    }
}

impl Session {
    /// Gives up what this process needs no longer. `cri`: the socket that the user named.
    ///
    /// A kernel that does not allow a part of it is no reason not to verify pods, so a failure is
    /// only said.
    pub(crate) fn confine(&self, confine: Confine<'_>, cri: Option<&Path>) {
        let later = match confine {
            Confine::Off => return,
            Confine::Reading | Confine::Answering(_) => Set::new(),
            Confine::Writing(path) => confine::to_write(path),
        };
        let keep = &needed(&self.live, cri) | &later;
        let is_reading = matches!(confine, Confine::Reading | Confine::Answering(_));
        let listeners: Vec<_> = match confine {
            Confine::Answering(listeners) => listeners.into_iter().flatten().collect(),
            _ => Vec::new(),
        };
        for failure in confine::process(&keep, is_reading, &listeners) {
            eprintln!("pause-trace: {failure}; it goes on with more privileges than it needs");
        }
    }
}

/// The capabilities that this process would keep, if it observed the node's pods now.
pub(crate) fn kept(live: &Live) -> Set {
    &needed(live, None) & &confine::held()
}

/// What a session needs after its hooks are attached.
fn needed(live: &Live, cri: Option<&Path>) -> Set {
    let mut keep = confine::to_read();
    if confine::with(&keep, || is_socket_refused(cri)) {
        keep.insert(Capability::CAP_DAC_OVERRIDE);
    }
    // Before Linux 5.19 every call of bpf(2) needs CAP_BPF, unless unprivileged users may call it
    // (kernel.unprivileged_bpf_disabled). So the calls that follow are tried.
    let more: [&[Capability]; 3] = [&[], &[Capability::CAP_BPF], &[Capability::CAP_SYS_ADMIN]];
    for more in more {
        let all: Set = keep.iter().chain(more).copied().collect();
        if !confine::with(&all, || live.is_refused()) {
            return all;
        }
    }
    keep.extend([
        Capability::CAP_BPF,
        Capability::CAP_PERFMON,
        Capability::CAP_SYS_ADMIN,
    ]);
    keep
}

/// Whether a socket of a runtime is there that may not be connected to.
fn is_socket_refused(cri: Option<&Path>) -> bool {
    let refused = |path: &Path| node::may(path, AccessFlags::W_OK).is_err();
    cri.is_some_and(refused) || super::privileges::refused_sockets().next().is_some()
}
