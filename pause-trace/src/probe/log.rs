//! What the kernel program logs when it is asked to (`--kernel-log`), on stderr. When it is not, the verifier has removed
//! the logging from the program.

use std::{io::Write as _, os::fd::AsFd as _};

use anyhow::Result;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

use super::load::Loaded;
use crate::sys;

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // That nobody reads it is no reason to stop.
        let _ = writeln!(
            std::io::stderr(),
            "kernel: {}: {}",
            record.target(),
            record.args()
        );
    }

    fn flush(&self) {}
}

/// Shows what the program logs, until the event loop ends.
pub(crate) fn show(loaded: &mut Loaded) -> Result<()> {
    let mut logger = EbpfLogger::init_with_logger(&mut loaded.ebpf, Stderr)?;
    let readiness = sys::watched(logger.as_fd().try_clone_to_owned()?)?;
    tokio::spawn(async move {
        while let Ok(mut ready) = readiness.readable().await {
            // Before it is read: what comes meanwhile makes it ready again.
            ready.clear_ready();
            logger.flush();
        }
    });
    Ok(())
}
