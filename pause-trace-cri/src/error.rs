//! What can be wrong with a call.

use std::{io, path::PathBuf, time::Duration};

use tonic::Code;

/// How much of a runtime's message is shown.
const SHOWN: usize = 1024;

/// Why a call gave nothing. Fits "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// There is nothing at that path.
    #[error("connect to {}: there is no socket; is the container runtime running?", path.display())]
    NoSocket {
        /// The socket.
        path: PathBuf,
    },
    /// It exists, and cannot be connected to: nobody listens, it is another kind of file, or we may not.
    #[error("connect to {}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// No answer in time. Whether it was done is not known.
    #[error("get an answer to {call} from {} within {after:?}", path.display())]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// The call.
        call: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// Who answers there is no CRI runtime.
    #[error("talk to {}: {reason}; name the socket of a CRI runtime", path.display())]
    NotCri {
        /// The socket.
        path: PathBuf,
        /// What it does instead.
        reason: String,
    },
    /// The connection ended before the answer. Whether it was done is not known.
    #[error("get an answer to {call} from {}: the connection was lost ({reason})", path.display())]
    Lost {
        /// The socket.
        path: PathBuf,
        /// The call.
        call: &'static str,
        /// How it ended.
        reason: String,
    },
    /// The runtime answered with an error, or with something that is no answer to this call.
    #[error("{call}: {} ({code:?})", shown(message))]
    Refused {
        /// The call.
        call: &'static str,
        /// What kind of error.
        code: Code,
        /// The runtime's words, as they came.
        message: String,
    },
}

impl CriError {
    /// Whether the runtime says that it has no such sandbox, container or image.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::NotFound,
                ..
            }
        )
    }

    /// Whether the runtime answered at all: then it is there, and asking it something else makes sense.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// The runtime's message may quote what a pod chose: neither control characters nor a novel.
pub(crate) fn shown(message: &str) -> String {
    let mut text = String::new();
    for character in message.chars() {
        if text.len() >= SHOWN {
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
    fn what_a_runtime_says_is_escaped_and_bounded() {
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
            shown.starts_with(r#"StartContainer: exec "\u{1b}[2J\u{202e}": not found"#),
            "{shown}"
        );
        assert!(shown.ends_with("x… (Unknown)"));
        assert!(shown.len() < 1100);
    }
}
