//! Errors of calls to the runtime.

use anyhow::anyhow;
use pause_trace_cri::CriError;

/// Turns a call's error into one with its causes.
pub(super) fn failed(error: CriError) -> anyhow::Error {
    anyhow!("failed to {:#}", anyhow::Error::from(error))
}
