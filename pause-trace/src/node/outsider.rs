//! Who a process is: its name, its parent and its command line in `/proc`.

use super::{procfs::NS_PER_TICK, survey::process::Directory};
use crate::event::{Comm, Outsider, ProcessId, Text};

/// Stands for what was cut off.
const CUT: &str = "…";

/// The current name of a process; `None` if it is gone.
pub(crate) fn name(process: ProcessId) -> Option<Comm> {
    let directory = Directory::open(process.pid).ok()?;
    let stat = directory.stat(&mut Vec::new())?;
    (stat.start_ticks == process.start / NS_PER_TICK).then_some(stat.comm)
}

/// Describes a process that just acted under the name `acted_as`; `None` if it is gone.
pub(crate) fn read(process: ProcessId, acted_as: Comm) -> Option<Outsider> {
    let directory = Directory::open(process.pid).ok()?;
    let mut buffer = Vec::new();
    // Read first, because the process may be about to end.
    let longest = Outsider::MAX_COMMAND as u64 + 1;
    let mut command = Vec::new();
    let has_command = directory.beginning("cmdline", longest, &mut command);
    let stat = directory.stat(&mut buffer)?;
    if stat.start_ticks != process.start / NS_PER_TICK {
        return None;
    }
    // After another exec, this is the command line of another program.
    if has_command.is_err() || stat.comm != acted_as {
        command.clear();
    }
    let parent = Directory::open(stat.parent).ok();
    let parent_comm = parent.and_then(|parent| Some(parent.stat(&mut buffer)?.comm));
    Some(Outsider {
        process,
        comm: acted_as,
        parent: stat.parent,
        parent_comm: parent_comm.unwrap_or_default(),
        command: Text(spaced(command).into()),
    })
}

/// The arguments separated by spaces instead of NULs, cut to [`Outsider::MAX_COMMAND`] bytes.
pub(super) fn spaced(mut command: Vec<u8>) -> Vec<u8> {
    let is_cut = command.len() > Outsider::MAX_COMMAND;
    if is_cut {
        let is_inside_character = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
        let mut end = Outsider::MAX_COMMAND - CUT.len();
        while end > 0 && is_inside_character(command[end]) {
            end -= 1;
        }
        command.truncate(end);
    }
    while command.last() == Some(&0) {
        command.pop();
    }
    for byte in &mut command {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    if is_cut {
        command.extend_from_slice(CUT.as_bytes());
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::procfs::start_ticks;

    fn this() -> ProcessId {
        let pid = std::process::id();
        let start = start_ticks(pid).expect("we are alive") * NS_PER_TICK;
        ProcessId { pid, start }
    }

    #[test]
    fn this_process_is_described_by_its_parent_and_command_line() {
        let comm = name(this()).expect("we are alive");
        let it = read(this(), comm).expect("we are alive");
        assert_eq!(it.parent, std::os::unix::process::parent_id());
        assert_ne!(it.parent_comm, Comm::default());
        let first = std::env::args().next().expect("a name");
        let shown = it.command.to_string();
        assert!(shown.starts_with(&first[..first.len().min(40)]), "{shown}");
        assert!(it.command.0.len() <= Outsider::MAX_COMMAND);
    }

    #[test]
    fn a_process_that_executed_again_has_another_command_line() {
        let it = read(this(), Comm::new("earlier")).expect("we are alive");
        assert!(it.command.0.is_empty() && it.parent > 0);
    }

    #[test]
    fn another_process_with_the_pid_is_not_it() {
        let ProcessId { pid, start } = this();
        let start = start + 5 * NS_PER_TICK;
        assert_eq!(read(ProcessId { pid, start }, Comm::default()), None);
        assert_eq!(name(ProcessId { pid, start }), None);
    }

    #[test]
    fn a_long_command_line_is_cut_between_characters() {
        assert_eq!(spaced(b"ip\0link\0".to_vec()), b"ip link");
        assert_eq!(spaced(Vec::new()), b"");
        let long = "ä".repeat(Outsider::MAX_COMMAND);
        let cut = spaced(long.into_bytes());
        let text = String::from_utf8(cut).expect("whole characters");
        assert!(
            text.ends_with("ä…") && text.len() <= Outsider::MAX_COMMAND,
            "{text}"
        );
    }
}
