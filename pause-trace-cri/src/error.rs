//! Errors of calls.

use std::{io, path::PathBuf, time::Duration};

use tonic::Code;

/// Maximum length of a runtime's message in an error, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Why a call failed. The text fits "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// There is no file at that path.
    #[error("connect to {}: there is no socket; is the container runtime running?", path.display())]
    NoSocket {
        /// The socket.
        path: PathBuf,
    },
    /// The file exists but the connection fails: no process listens, the file is not a socket, or
    /// permission is denied.
    #[error("connect to {}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The error of the kernel.
        source: io::Error,
    },
    /// No answer arrived in time. The runtime may have carried out the call.
    #[error("get an answer to {call} from {} within {after:?}", path.display())]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// The call.
        call: &'static str,
        /// The timeout.
        after: Duration,
    },
    /// The server at that socket is not a CRI runtime.
    #[error("use {} as a CRI socket: {reason}; specify the socket of a CRI runtime", path.display())]
    NotCri {
        /// The socket.
        path: PathBuf,
        /// How the server differs from a CRI runtime.
        reason: String,
    },
    /// The connection ended before the answer arrived. The runtime may have carried out the call.
    #[error("get an answer to {call} from {}: the connection was lost ({reason})", path.display())]
    Lost {
        /// The socket.
        path: PathBuf,
        /// The call.
        call: &'static str,
        /// How the connection ended.
        reason: String,
    },
    /// The runtime answered with an error, or the answer does not fit the call.
    #[error("call {call}: {} ({code:?})", escaped(message))]
    Refused {
        /// The call.
        call: &'static str,
        /// The kind of error.
        code: Code,
        /// The runtime's message, not escaped.
        message: String,
    },
}

impl CriError {
    /// Whether the runtime reports that it has no such sandbox, container or image.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::NotFound,
                ..
            }
        )
    }

    /// Whether the runtime answered. If it did, other calls may succeed.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// Escapes control characters of a runtime's message, which may quote text that a pod chose, and
/// limits its length.
pub(crate) fn escaped(message: &str) -> String {
    let mut text = String::new();
    for character in message.chars() {
        if text.len() >= MAX_MESSAGE {
            text.push('…');
            break;
        }
        match character {
            '"' | '\'' => text.push(character),
            _ => text.extend(character.escape_debug()),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtimes_message_is_escaped_and_bounded() {
        let error = CriError::Refused {
            call: "StartContainer",
            code: Code::Unknown,
            message: format!(
                "exec \"\u{1b}[2J\u{202e}\": not found{}",
                "x".repeat(1 << 20)
            ),
        };
        let shown = error.to_string();
        assert!(
            shown.starts_with(r#"call StartContainer: exec "\u{1b}[2J\u{202e}": not found"#),
            "{shown}"
        );
        assert!(shown.ends_with("x… (Unknown)"));
        assert!(shown.len() < 1100);
    }
}
