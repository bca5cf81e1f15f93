//! Reading containers' bundles, wherever their runtimes keep them.

use std::time::Duration;

use super::read::{self, Read};
use crate::{
    event::ContainerId,
    node::{
        bundle::{BundleError, Location},
        identity::Identity,
    },
};

/// How long a bundle may take to be read. It lies in memory; a file system that hangs must not stop the verifier.
const LONGEST: Duration = Duration::from_secs(2);

/// How many directories with bundles are remembered: one a runtime.
const MOST_LOCATIONS: usize = 8;

/// Where bundles were found: where others are, too.
#[derive(Debug, Default)]
pub(super) struct Bundles(Vec<Location>);

/// Why a bundle is not known. Each fits "failed to …".
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("read the bundle of container {container}: it took longer than {LONGEST:?}")]
    TooSlow { container: ContainerId },
}

impl Bundles {
    /// Reads the bundle of a container, of which the first of `pids` is a process, and the others were above it: where its
    /// shim says that it is, else beside known ones.
    pub(super) async fn read(
        &mut self,
        identity: &Identity,
        pids: Vec<u32>,
    ) -> Result<Read, Unread> {
        let reading = tokio::task::spawn_blocking({
            let (identity, known) = (identity.clone(), self.0.clone());
            move || read::bundle(&identity, &pids, &known)
        });
        let Ok(Ok(read)) = tokio::time::timeout(LONGEST, reading).await else {
            let container = identity.container.clone();
            return Err(Unread::TooSlow { container });
        };
        let read = read?;
        self.remember(&read.location);
        Ok(read)
    }

    /// Places are reached through a shim of that runtime, which ends with its pod: of two, the later lives longer.
    fn remember(&mut self, location: &Location) {
        self.0
            .retain(|known| known.directory.parent() != location.directory.parent());
        if self.0.len() == MOST_LOCATIONS {
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
    fn a_place_is_remembered_as_it_was_reached_last() {
        let mut bundles = Bundles::default();
        for container in 1..=3 {
            bundles.remember(&location(1, container));
            bundles.remember(&location(2, 10 + container));
        }
        assert_eq!(bundles.0, [location(1, 3), location(2, 13)]);
        for runtime in 3..=MOST_LOCATIONS + 1 {
            bundles.remember(&location(runtime, 1));
        }
        assert_eq!(bundles.0.len(), MOST_LOCATIONS);
        assert_eq!(bundles.0[0], location(2, 13));
    }
}
