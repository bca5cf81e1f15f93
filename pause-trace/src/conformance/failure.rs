//! The error of a call to the runtime.

use anyhow::anyhow;
use pause_trace_cri::CriError;

/// A call's error, with its causes.
pub(super) fn failed(error: CriError) -> anyhow::Error {
    anyhow!("failed to {:#}", anyhow::Error::from(error))
}
