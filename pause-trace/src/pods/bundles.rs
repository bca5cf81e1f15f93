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
    /// Reads the bundle of a container, of which `pid` is a process: where its shim says that it is, else beside known ones.
    pub(super) async fn read(&mut self, identity: &Identity, pid: u32) -> Result<Read, Unread> {
        let reading = tokio::task::spawn_blocking({
            let (identity, known) = (identity.clone(), self.0.clone());
            move || read::bundle(&identity, pid, &known)
        });
        let Ok(Ok(read)) = tokio::time::timeout(LONGEST, reading).await else {
            let container = identity.container.clone();
            return Err(Unread::TooSlow { container });
        };
        let read = read?;
        self.remember(&read.location);
        Ok(read)
    }

    fn remember(&mut self, location: &Location) {
        let is_known = self
            .0
            .iter()
            .any(|known| known.directory.parent() == location.directory.parent());
        if !is_known && self.0.len() < MOST_LOCATIONS {
            self.0.push(location.clone());
        }
    }
}
