//! Processes outside the pods that act on one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Comm, ProcessId, Text};

/// A process outside the pods and their runtime, as `/proc` shows it when it acts on a pod. Its
/// name alone rarely says what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outsider {
    /// The process.
    pub process: ProcessId,
    /// The name under which it acted.
    pub comm: Comm,
    /// Its parent's pid; 0 if it has none.
    pub parent: u32,
    /// Its parent's name; empty if that could not be read.
    pub parent_comm: Comm,
    /// Its arguments, separated by spaces, at most [`Outsider::MAX_COMMAND`] bytes; empty if they
    /// are not known.
    pub command: Text,
}

impl Outsider {
    /// Most bytes of the command line that are kept.
    pub const MAX_COMMAND: usize = 128;

    /// The parent as a phrase: `cleanup.sh (pid 4700)`.
    pub(crate) fn parent(&self) -> Option<String> {
        let name = match self.parent_comm == Comm::default() {
            true => String::new(),
            false => format!("{} ", self.parent_comm),
        };
        (self.parent != 0).then(|| format!("{name}(pid {})", self.parent))
    }

    /// The command line in quotes. A quote inside is escaped, so that it does not end there.
    pub(crate) fn command(&self) -> Option<String> {
        let command = self.command.to_string().replace('"', "\\\"");
        (!command.is_empty()).then(|| format!("\"{command}\""))
    }
}

/// What follows the pid of the process: `, child of cleanup.sh (pid 4700), command "ip link"`.
impl fmt::Display for Outsider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent() {
            write!(f, ", child of {parent}")?;
        }
        if let Some(command) = self.command() {
            write!(f, ", command {command}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outsider(parent: u32, parent_comm: &str, command: &[u8]) -> String {
        let outsider = Outsider {
            process: ProcessId::default(),
            comm: Comm::new("ip"),
            parent,
            parent_comm: Comm::new(parent_comm),
            command: Text(command.to_vec().into()),
        };
        outsider.to_string()
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        assert_eq!(
            outsider(7, "sh", b"ip link"),
            ", child of sh (pid 7), command \"ip link\""
        );
        assert_eq!(outsider(7, "", b""), ", child of (pid 7)");
        assert_eq!(outsider(0, "", b""), "");
    }

    #[test]
    fn a_command_line_cannot_pass_for_the_findings_own_words() {
        assert_eq!(
            outsider(0, "", b"x\", child of systemd (pid 1)\x1b[2J"),
            r#", command "x\", child of systemd (pid 1)\u{1b}[2J""#
        );
    }
}
