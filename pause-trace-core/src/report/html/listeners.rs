//! The TCP ports on which containers listen.

use std::net::IpAddr;

use serde::Serialize;

use super::model::Span;
use crate::{event::ContainerId, state::State, text::endpoint};

/// A port on which a container began to listen.
#[derive(Debug, Serialize)]
pub(crate) struct Listens {
    pub(crate) at: i64,
    /// The id of the container, escaped.
    pub(crate) container: String,
    pub(crate) address: IpAddr,
    /// `None` if the kernel chose it, and no record shows it.
    pub(crate) port: Option<u16>,
    /// The name and pid of the process.
    pub(crate) by: String,
}

impl Listens {
    /// Its mark in the lane of its container.
    pub(super) fn span(&self, lane: String) -> Span {
        Span {
            lane,
            name: format!(
                "{} listens on {}",
                self.by,
                endpoint(self.address, self.port)
            ),
            start_ns: self.at,
            end_ns: Some(self.at),
            kind: "listen",
        }
    }
}

/// Containers whose listeners have not listened for long enough yet to be reported.
#[derive(Default)]
pub(super) struct Awaited(Vec<ContainerId>);

impl Awaited {
    /// Notes that a container may have another listener.
    pub(super) fn add(&mut self, container: &ContainerId) {
        if !self.0.contains(container) {
            self.0.push(container.clone());
        }
    }

    /// The containers whose listeners have to be read.
    pub(super) fn take(&mut self, state: &State) -> Vec<ContainerId> {
        let all = self.0.clone();
        let is_awaited = |id: &ContainerId| {
            let container = state.containers.get(id);
            container.is_some_and(|container| container.listeners.is_awaited())
        };
        self.0.retain(is_awaited);
        all
    }
}
