//! Reads containers' bundles with a time limit, and remembers where bundles are.

use std::time::Duration;

use super::read::{self, Read};
use crate::{
    event::ContainerId,
    node::{
        bundle::{BundleError, Location},
        identity::Identity,
    },
};

/// The time limit for reading a bundle. Bundles are usually on a tmpfs, but a file system that
/// hangs must not block the verifier.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Directories with bundles that are remembered: one per runtime.
const MAX_LOCATIONS: usize = 8;

/// Locations of bundles that were found; other bundles are next to them.
#[derive(Debug, Default)]
pub(super) struct Bundles(Vec<Location>);

/// Why a bundle could not be read. Each text completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("read the bundle of container {container}: it took longer than {TIMEOUT:?}")]
    TooSlow { container: ContainerId },
}

impl Bundles {
    /// Reads the bundle of a container: through its shim, otherwise next to known bundles. The
    /// first of `pids` is a process of the container, the others were its ancestors.
    pub(super) async fn read(
        &mut self,
        identity: &Identity,
        pids: Vec<u32>,
    ) -> Result<Read, Unread> {
        let reading = tokio::task::spawn_blocking({
            let (identity, known) = (identity.clone(), self.0.clone());
            move || read::bundle(&identity, &pids, &known)
        });
        let Ok(Ok(read)) = tokio::time::timeout(TIMEOUT, reading).await else {
            let container = identity.container.clone();
            return Err(Unread::TooSlow { container });
        };
        let read = read?;
        self.remember(&read.location);
        Ok(read)
    }

    /// A location is reached through a shim, which ends with its pod. The later of two locations is
    /// therefore valid for longer.
    fn remember(&mut self, location: &Location) {
        self.0
            .retain(|known| known.directory.parent() != location.directory.parent());
        if self.0.len() == MAX_LOCATIONS {
            self.0.remove(0);
        }
        self.0.push(location.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::bundle::Manager;

    fn location(runtime: usize, container: usize) -> Location {
        Location {
            manager: Manager::Containerd,
            directory: format!("/run/{runtime}/{container}").into(),
            reach: format!("/proc/{container}/cwd").into(),
            pid_file: None,
            socket: None,
        }
    }

    #[test]
    fn the_last_location_of_each_runtime_is_remembered() {
        let mut bundles = Bundles::default();
        for container in 1..=3 {
            bundles.remember(&location(1, container));
            bundles.remember(&location(2, 10 + container));
        }
        assert_eq!(bundles.0, [location(1, 3), location(2, 13)]);
        for runtime in 3..=MAX_LOCATIONS + 1 {
            bundles.remember(&location(runtime, 1));
        }
        assert_eq!(bundles.0.len(), MAX_LOCATIONS);
        assert_eq!(bundles.0[0], location(2, 13));
    }
}
