//! Writes the eBPF program's log to stderr (`--kernel-log`). Without that option, the verifier
//! removes the logging from the program.

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
        // A closed stderr is not a reason to stop.
        let _ = writeln!(
            std::io::stderr(),
            "kernel: {}: {}",
            record.target(),
            record.args()
        );
    }

    fn flush(&self) {}
}

/// Shows the program's log until the event loop ends.
pub(crate) fn show(loaded: &mut Loaded) -> Result<()> {
    let mut logger = EbpfLogger::init_with_logger(&mut loaded.ebpf, Stderr)?;
    let readiness = sys::watched(logger.as_fd().try_clone_to_owned()?)?;
    tokio::spawn(async move {
        while let Ok(mut ready) = readiness.readable().await {
            // Cleared before reading, so that new messages make it ready again.
            ready.clear_ready();
            logger.flush();
        }
    });
    Ok(())
}
